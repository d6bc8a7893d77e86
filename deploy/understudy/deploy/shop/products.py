"""Products of the shop."""

import re
from dataclasses import dataclass

#: Categories in menu order; `texts` has their names.
CATEGORIES = ("mugs", "notebooks", "lamps", "textiles")


@dataclass(frozen=True, slots=True)
class Product:
    slug: str
    name: str
    category: str
    cents: int
    story: str
    in_stock: bool = True

    @property
    def price(self) -> str:
        return price(self.cents)


def price(cents: int) -> str:
    """Returns an amount as price text, for example `€12.90`."""
    return f"€{cents // 100}.{cents % 100:02}"


def _product(category: str, name: str, cents: int, story: str, *, in_stock: bool = True) -> Product:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return Product(slug, name, category, cents, story, in_stock)


PRODUCTS = (
    _product("mugs", "Blue Mug", 1290, "Stoneware in deep blue, 0.3 l. Goes into the dishwasher."),
    # A trap: it looks like the other mugs but is sold out.
    _product("mugs", "Blue Mug XL", 1690, "The big sister of the blue mug, 0.6 l.", in_stock=False),
    _product("mugs", "Red Mug", 1290, "Stoneware in brick red, 0.3 l."),
    _product("mugs", "White Espresso Cup", 890, "Porcelain, 0.08 l, with saucer."),
    _product("mugs", "Green Enamel Mug", 1490, "Light, unbreakable, made for the campfire."),
    _product("mugs", "Speckled Tea Bowl", 1890, "Thrown by hand; no two are the same."),
    _product("mugs", "Travel Mug", 2490, "Keeps coffee hot for six hours."),
    _product("mugs", "Glass Latte Cup", 1190, "Double wall: warm inside, cool outside."),
    _product("notebooks", "Dotted Notebook A5", 1150, "128 pages of smooth paper, lies flat."),
    _product("notebooks", "Lined Notebook A4", 1450, "192 pages, with a table of contents to fill in."),
    _product("notebooks", "Pocket Sketchbook", 950, "Heavy paper for pencil and ink."),
    _product("notebooks", "Yearly Planner", 1990, "A week on two pages, starts in any month."),
    _product("notebooks", "Recipe Journal", 1750, "Room for 100 recipes and what came of them."),
    _product("notebooks", "Music Notebook", 1050, "Twelve staves a page."),
    _product("lamps", "Brass Desk Lamp", 7900, "Turns every way; takes any E14 bulb."),
    _product("lamps", "Paper Floor Lamp", 5900, "Washi paper on bamboo, folds flat."),
    _product("lamps", "Clip Reading Lamp", 2900, "Holds on to shelves and headboards."),
    _product("lamps", "Green Glass Lamp", 8900, "The banker's lamp, with a pull chain."),
    _product("lamps", "Night Light Owl", 1990, "Glows for half an hour, then sleeps."),
    _product("textiles", "Grey Wool Blanket", 6900, "Lambswool, 130 by 180 cm."),
    _product("textiles", "Linen Tea Towel", 1290, "Dries glasses without lint."),
    _product("textiles", "Striped Cushion", 2490, "Cotton cover, feather filling."),
    _product("textiles", "Blue Apron", 2290, "Heavy cotton with a pocket for the spoon."),
    _product("textiles", "Winter Scarf", 3490, "Merino, two metres long."),
)

BY_SLUG = {product.slug: product for product in PRODUCTS}


def in_category(category: str) -> tuple[Product, ...]:
    """Returns the products of a category; all products for an empty category."""
    return tuple(product for product in PRODUCTS if category in ("", product.category))


def search(query: str) -> tuple[Product, ...]:
    """Returns the products that match the most words of `query`; empty if none matches."""
    wanted = re.findall(r"\w+", query.lower())[:20]

    def hits(product: Product) -> int:
        text = f"{product.name} {product.category} {product.story}".lower()
        # "mugs" also finds "mug".
        return sum(word in text or (len(word) > 3 and word.removesuffix("s") in text) for word in wanted)

    ranked = sorted(PRODUCTS, key=hits, reverse=True)
    best = hits(ranked[0])
    return tuple(product for product in ranked if best and hits(product) == best)
