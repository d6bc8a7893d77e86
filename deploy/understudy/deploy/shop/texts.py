"""Texts of the shop in three languages. Product names are not translated."""

LANGUAGES = ("en", "de", "fr")

_WORDS: dict[str, tuple[str, str, str]] = {
    "shop": ("Hearth & Shelf", "Hearth & Shelf", "Hearth & Shelf"),
    "slogan": ("Good things for home", "Gute Dinge für zu Hause", "De bonnes choses pour la maison"),
    "home": ("Home", "Startseite", "Accueil"),
    "all": ("All products", "Alle Produkte", "Tous les produits"),
    "mugs": ("Mugs & cups", "Becher & Tassen", "Tasses & mugs"),
    "notebooks": ("Notebooks", "Notizbücher", "Carnets"),
    "lamps": ("Lamps", "Lampen", "Lampes"),
    "textiles": ("Textiles", "Textilien", "Textiles"),
    "favourites": ("Our favourites", "Unsere Lieblinge", "Nos préférés"),
    "search": ("Search", "Suchen", "Rechercher"),
    "search_label": ("Search products", "Produkte suchen", "Rechercher un produit"),
    "results": ("Results for “{}”", "Ergebnisse für „{}“", "Résultats pour « {} »"),
    "nothing_found": ("Nothing found.", "Nichts gefunden.", "Aucun résultat."),
    "language": ("Language", "Sprache", "Langue"),
    "change": ("Change", "Ändern", "Changer"),
    "next": ("Next page", "Nächste Seite", "Page suivante"),
    "previous": ("Previous page", "Vorige Seite", "Page précédente"),
    "page": ("Page {} of {}", "Seite {} von {}", "Page {} sur {}"),
    "price": ("Price", "Preis", "Prix"),
    "quantity": ("Quantity", "Menge", "Quantité"),
    "add": ("Add to cart", "In den Warenkorb", "Ajouter au panier"),
    "sold_out": ("Sold out", "Ausverkauft", "Épuisé"),
    "sold_out_long": (
        "This product is sold out at the moment.",
        "Dieses Produkt ist zurzeit ausverkauft.",
        "Ce produit est épuisé pour le moment.",
    ),
    "cart": ("Cart", "Warenkorb", "Panier"),
    "cart_empty": ("Your cart is empty.", "Ihr Warenkorb ist leer.", "Votre panier est vide."),
    "remove": ("Remove", "Entfernen", "Retirer"),
    "total": ("Total", "Summe", "Total"),
    # A trap: it sounds like the checkout but leads back to the products.
    "continue": ("Continue", "Weiter", "Continuer"),
    "checkout": ("Proceed to checkout", "Zur Kasse", "Passer la commande"),
    "checkout_title": ("Checkout", "Kasse", "Commande"),
    "name": ("Full name", "Vor- und Nachname", "Nom complet"),
    "email": ("E-mail address", "E-Mail-Adresse", "Adresse e-mail"),
    "phone": ("Phone", "Telefon", "Téléphone"),
    "address": ("Street and number", "Straße und Hausnummer", "Rue et numéro"),
    "zip": ("Postal code", "Postleitzahl", "Code postal"),
    "country": ("Country", "Land", "Pays"),
    "please_choose": ("Please choose", "Bitte wählen", "Veuillez choisir"),
    "terms": (
        "I accept the terms and conditions",
        "Ich akzeptiere die Geschäftsbedingungen",
        "J'accepte les conditions générales",
    ),
    "order": ("Place order", "Zahlungspflichtig bestellen", "Valider la commande"),
    "missing": ("Please fill in: {}.", "Bitte ausfüllen: {}.", "Veuillez remplir : {}."),
    "bad_email": (
        "This is not an e-mail address.",
        "Das ist keine E-Mail-Adresse.",
        "Ce n'est pas une adresse e-mail.",
    ),
    "accept_terms": (
        "Please accept the terms.",
        "Bitte akzeptieren Sie die Bedingungen.",
        "Veuillez accepter les conditions.",
    ),
    # A trap: it does not name the field, and the field is not marked.
    "something_wrong": (
        "Please check your entries.",
        "Bitte prüfen Sie Ihre Angaben.",
        "Veuillez vérifier votre saisie.",
    ),
    "confirmed": ("Order confirmed", "Bestellung bestätigt", "Commande confirmée"),
    "thanks": (
        "Thank you, {}! Your order {} is on its way to being packed.",
        "Vielen Dank, {}! Ihre Bestellung {} wird bald gepackt.",
        "Merci, {} ! Votre commande {} sera bientôt emballée.",
    ),
    "news_title": (
        "Before you go on: our newsletter",
        "Bevor es weitergeht: unser Newsletter",
        "Avant de continuer : notre newsletter",
    ),
    "news_text": (
        "10 % off your first order if you subscribe today!",
        "10 % auf die erste Bestellung, wenn Sie heute abonnieren!",
        "10 % sur votre première commande si vous vous abonnez aujourd'hui !",
    ),
    "subscribe": ("Subscribe", "Abonnieren", "S'abonner"),
    "no_thanks": ("No, thanks", "Nein, danke", "Non, merci"),
    "subscribed": ("You are subscribed.", "Sie sind angemeldet.", "Vous êtes abonné."),
    "not_found": ("Page not found", "Seite nicht gefunden", "Page introuvable"),
    "back_home": ("Back to the home page", "Zurück zur Startseite", "Retour à l'accueil"),
    "about": ("About us", "Über uns", "À propos"),
    "about_text": (
        "A demo shop. Nothing is sold, nothing is sent, and nobody is charged.",
        "Ein Vorführladen. Hier wird nichts verkauft, verschickt oder berechnet.",
        "Une boutique de démonstration. Rien n'est vendu, envoyé ni facturé.",
    ),
    "shipping": ("Shipping", "Versand", "Livraison"),
    "shipping_text": (
        "Everything is sent within two days.",
        "Alles wird innerhalb von zwei Tagen verschickt.",
        "Tout est expédié sous deux jours.",
    ),
}


def translate(language: str, key: str, *values: object) -> str:
    """Returns the text of `key` in `language`, with `values` filled in."""
    return _WORDS[key][LANGUAGES.index(language)].format(*values)
