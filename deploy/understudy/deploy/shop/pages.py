"""HTML pages of the shop."""

from collections.abc import Iterable
from html import escape
from urllib.parse import quote, urlencode

from understudy.deploy.shop.checkout import COUNTRIES, FIELDS, Customer
from understudy.deploy.shop.products import CATEGORIES, Product, price
from understudy.deploy.shop.texts import LANGUAGES, translate
from understudy.deploy.shop.visitors import Visitor

PAGE_SIZE = 6

_STYLE = """
body{margin:0;font:16px/1.5 system-ui,sans-serif;color:#2b2b2b;background:#faf8f5}
header,main,footer{max-width:60rem;margin:0 auto;padding:1rem}
header{display:flex;flex-wrap:wrap;gap:1rem;align-items:center;border-bottom:1px solid #ddd5c8}
header .name{font-size:1.3rem;font-weight:700;color:#7a3e1d;text-decoration:none}
nav{display:flex;flex-wrap:wrap;gap:.9rem;flex-basis:100%}
a{color:#7a3e1d}
button{background:#7a3e1d;color:#fff;border:0;border-radius:.3rem;padding:.4rem .9rem;cursor:pointer}
input,select{font:inherit;padding:.3rem;border:1px solid #b9ad9c;border-radius:.3rem}
.goods{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem}
.goods{list-style:none;padding:0}
.goods li,.card{background:#fff;border:1px solid #e5ddd0;border-radius:.5rem;padding:1rem}
.out{color:#8c8273}.problem{background:#fbe4dd;border-left:4px solid #b3401c;padding:.6rem 1rem}
.field{display:block;margin:.7rem 0}.field>span{display:block}
table{border-collapse:collapse;width:100%}td{padding:.4rem;border-bottom:1px solid #e5ddd0}
"""


class Pages:
    """Pages for one visitor at one path."""

    def __init__(self, visitor: Visitor, path: str) -> None:
        self._visitor = visitor
        self._path = path

    def home(self, favourites: Iterable[Product]) -> str:
        body = f"<p>{self._say('slogan')}</p><h2>{self._say('favourites')}</h2>{self._goods(favourites)}"
        return self._page("shop", body)

    def catalogue(self, category: str, goods: tuple[Product, ...], page: int) -> str:
        """Returns page `page` (from 1) of a category; an empty category means all products."""
        pages = max(1, -(-len(goods) // PAGE_SIZE))
        page = min(max(page, 1), pages)
        links = []
        for key, number in (("previous", page - 1), ("next", page + 1)):
            if 1 <= number <= pages:
                query = urlencode({"category": category, "page": number} if category else {"page": number})
                links.append(f'<a href="/catalogue?{escape(query)}">{self._say(key)}</a>')
        shown = goods[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
        count = f"<p>{self._say('page', page, pages)} {' · '.join(links)}</p>" if pages > 1 else ""
        return self._page(category or "all", self._goods(shown) + count)

    def results(self, query: str, goods: tuple[Product, ...]) -> str:
        title = translate(self._visitor.language, "results", query[:100])
        return self._titled(title, self._goods(goods) if goods else f"<p>{self._say('nothing_found')}</p>")

    def product(self, product: Product) -> str:
        if product.in_stock:
            order = (
                '<form action="/cart/add" method="post">'
                f'<input type="hidden" name="product" value="{product.slug}">'
                f'<label>{self._say("quantity")} <input name="quantity" value="1" size="3"></label> '
                f"<button>{self._say('add')}</button></form>"
            )
        else:
            order = f'<p class="out">{self._say("sold_out_long")}</p>'
        body = (
            f'<p><a href="/catalogue?category={product.category}">{self._say(product.category)}</a></p>'
            f'<div class="card"><p>{escape(product.story)}</p>'
            f"<p>{self._say('price')}: <strong>{product.price}</strong></p>{order}</div>"
        )
        return self._titled(product.name, body)

    def cart(self) -> str:
        lines = self._visitor.lines()
        if not lines:
            body = f'<p>{self._say("cart_empty")}</p><p><a href="/">{self._say("continue")}</a></p>'
            return self._page("cart", body)
        rows = "".join(
            f'<tr><td><a href="/product/{product.slug}">{escape(product.name)}</a></td>'
            f'<td>{quantity} &times; {product.price}</td><td><form action="/cart/remove" method="post">'
            f'<button name="product" value="{product.slug}">{self._say("remove")}</button></form></td></tr>'
            for product, quantity in lines
        )
        total = price(self._visitor.cents)
        body = (
            f"<table>{rows}</table><p>{self._say('total')}: <strong>{total}</strong></p>"
            f'<p><a href="/">{self._say("continue")}</a> · '
            f'<a href="/checkout">{self._say("checkout")}</a></p>'
        )
        return self._page("cart", body)

    def checkout(self, customer: Customer, problems: list[str]) -> str:
        messages = "".join(f'<p class="problem">{escape(problem)}</p>' for problem in problems)
        fields = "".join(
            f'<label class="field"><span>{self._say(name)}{" *" if marked else ""}</span><input name="{name}"'
            f' value="{escape(customer.values.get(name, ""))}"{" required" if marked else ""}></label>'
            for name, marked in FIELDS.items()
        )
        options = "".join(
            f'<option value="{code}"{" selected" if code == customer.country else ""}>{escape(name)}</option>'
            for code, name in COUNTRIES.items()
        )
        body = (
            f'{messages}<form action="/checkout" method="post" class="card">{fields}'
            f'<label class="field"><span>{self._say("country")} *</span><select name="country" required>'
            f'<option value="">{self._say("please_choose")}</option>{options}</select></label>'
            '<label class="field"><input type="checkbox" name="terms" required'
            f"{' checked' if customer.accepts else ''}> {self._say('terms')}</label>"
            f"<button>{self._say('order')}</button></form>"
        )
        return self._page("checkout_title", body)

    def confirmed(self, name: str, number: int) -> str:
        return self._page("confirmed", f'<p class="card">{self._say("thanks", name, number)}</p>')

    def newsletter(self, back: str, *, done: bool = False) -> str:
        no = f'<p><a href="{escape(back)}">{self._say("no_thanks" if not done else "back_home")}</a></p>'
        if done:
            return self._page("news_title", f"<p>{self._say('subscribed')}</p>{no}")
        body = (
            f'<p>{self._say("news_text")}</p><form action="/newsletter" method="post" class="card">'
            f'<label>{self._say("email")} <input type="email" name="email" required></label> '
            f"<button>{self._say('subscribe')}</button></form>{no}"
        )
        return self._page("news_title", body)

    def note(self, key: str) -> str:
        """Returns a page with only a text."""
        return self._page(key, f"<p>{self._say(key + '_text')}</p>")

    def not_found(self) -> str:
        return self._page("not_found", f'<p><a href="/">{self._say("back_home")}</a></p>')

    def _say(self, key: str, *values: object) -> str:
        return escape(translate(self._visitor.language, key, *values))

    def _goods(self, goods: Iterable[Product]) -> str:
        items = "".join(
            f'<li><a href="/product/{product.slug}">{escape(product.name)}</a><br>{product.price}'
            + ("" if product.in_stock else f' <span class="out">{self._say("sold_out")}</span>')
            + "</li>"
            for product in goods
        )
        return f'<ul class="goods">{items}</ul>'

    def _page(self, key: str, body: str) -> str:
        return self._titled(translate(self._visitor.language, key), body)

    def _titled(self, title: str, body: str) -> str:
        language = self._visitor.language
        picks = "".join(
            f'<option value="{code}"{" selected" if code == language else ""}>{code.upper()}</option>'
            for code in LANGUAGES
        )
        menu = "".join(f' <a href="/catalogue?category={key}">{self._say(key)}</a>' for key in CATEGORIES)
        in_cart = sum(self._visitor.cart.values())
        return (
            f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)} &ndash; {self._say('shop')}</title><style>{_STYLE}</style></head><body>"
            f'<header><a class="name" href="/">{self._say("shop")}</a>'
            f'<form action="/search"><input type="search" name="q" aria-label="{self._say("search_label")}"> '
            f"<button>{self._say('search')}</button></form>"
            f'<a href="/cart">{self._say("cart")} ({in_cart})</a>'
            f'<form action="/language"><label>{self._say("language")} '
            f'<select name="lang">{picks}</select></label>'
            f'<input type="hidden" name="back" value="{escape(quote(self._path, safe="/?=&%+"))}"> '
            f"<button>{self._say('change')}</button></form>"
            f'<nav><a href="/catalogue">{self._say("all")}</a>{menu}</nav></header>'
            f"<main><h1>{escape(title)}</h1>{body}</main>"
            f'<footer><a href="/about">{self._say("about")}</a> · '
            f'<a href="/shipping">{self._say("shipping")}</a></footer></body></html>'
        )
