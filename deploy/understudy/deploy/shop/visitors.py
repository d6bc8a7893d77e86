"""Visitors of the shop by cookie, in memory; the least recently active ones are dropped first."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

from understudy.deploy.shop.products import BY_SLUG, Product

COOKIE = "visit"
_MAX_VISITORS = 10_000
_MAX_LINES = 50
_MAX_QUANTITY = 99
#: Number of the product view at which the newsletter appears, once per visitor.
_NEWSLETTER_VIEW = 2


@dataclass
class Visitor:
    """One visitor's language, cart and orders."""

    key: str
    language: str = "en"
    cart: dict[str, int] = field(default_factory=dict)
    #: Order number -> name of the customer.
    orders: dict[int, str] = field(default_factory=dict)
    product_views: int = 0
    newsletter_shown: bool = False

    def lines(self) -> list[tuple[Product, int]]:
        return [(BY_SLUG[slug], quantity) for slug, quantity in self.cart.items()]

    @property
    def cents(self) -> int:
        return sum(product.cents * quantity for product, quantity in self.lines())

    def put(self, product: Product, quantity: int) -> None:
        if product.in_stock and (product.slug in self.cart or len(self.cart) < _MAX_LINES):
            self.cart[product.slug] = min(self.cart.get(product.slug, 0) + quantity, _MAX_QUANTITY)

    def should_show_newsletter(self) -> bool:
        """Counts a product view; returns True once, at the second view, to interrupt a shopping visitor."""
        self.product_views += 1
        if self.newsletter_shown or self.product_views < _NEWSLETTER_VIEW:
            return False
        self.newsletter_shown = True
        return True


class Visitors:
    """The visitors; keeps the 10,000 most recently active ones."""

    def __init__(self) -> None:
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()
        self._last_order = 1000

    def get_or_create(self, cookie_header: str) -> Visitor:
        """Returns the visitor of these cookies; creates a new one if unknown."""
        try:
            cookie = SimpleCookie(cookie_header).get(COOKIE)
        except CookieError:
            cookie = None
        visitor = self._visitors.get(cookie.value) if cookie else None
        if visitor is None:
            visitor = Visitor(secrets.token_urlsafe(16))
            self._visitors[visitor.key] = visitor
            while len(self._visitors) > _MAX_VISITORS:
                self._visitors.popitem(last=False)
        self._visitors.move_to_end(visitor.key)
        return visitor

    def order(self, visitor: Visitor, name: str) -> int:
        """Turns the cart into an order, empties it and returns the order number."""
        self._last_order += 1
        visitor.orders[self._last_order] = name
        visitor.cart.clear()
        return self._last_order
