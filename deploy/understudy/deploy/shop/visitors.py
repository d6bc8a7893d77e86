"""Visitors: who is in the shop, by cookie; kept in memory, the longest unseen forgotten first."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

from understudy.deploy.shop.products import BY_SLUG, Product

COOKIE = "visit"
_MAX_VISITORS = 10_000
_MAX_LINES = 50
_MAX_QUANTITY = 99
#: On this many products a visitor is asked to subscribe, once.
_ASKED_AFTER = 2


@dataclass
class Visitor:
    """One visitor's language, cart and orders."""

    key: str
    language: str = "en"
    cart: dict[str, int] = field(default_factory=dict)
    #: Order number -> name of the customer.
    orders: dict[int, str] = field(default_factory=dict)
    looked_at: int = 0
    asked: bool = False

    def lines(self) -> list[tuple[Product, int]]:
        return [(BY_SLUG[slug], quantity) for slug, quantity in self.cart.items()]

    @property
    def cents(self) -> int:
        return sum(product.cents * quantity for product, quantity in self.lines())

    def put(self, product: Product, quantity: int) -> None:
        if product.in_stock and (product.slug in self.cart or len(self.cart) < _MAX_LINES):
            self.cart[product.slug] = min(self.cart.get(product.slug, 0) + quantity, _MAX_QUANTITY)

    def should_show_newsletter(self) -> bool:
        """True once, when the visitor has begun to like it here: the worst moment to get in the way."""
        self.looked_at += 1
        if self.asked or self.looked_at < _ASKED_AFTER:
            return False
        self.asked = True
        return True


class Visitors:
    """All visitors, at most ten thousand."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Visitor] = OrderedDict()
        self._orders = 1000

    def get_or_create(self, cookie_header: str) -> Visitor:
        """The visitor who sent these cookies; a new one if unknown."""
        try:
            cookie = SimpleCookie(cookie_header).get(COOKIE)
        except CookieError:
            cookie = None
        visitor = self._known.get(cookie.value) if cookie else None
        if visitor is None:
            visitor = Visitor(secrets.token_urlsafe(16))
            self._known[visitor.key] = visitor
            while len(self._known) > _MAX_VISITORS:
                self._known.popitem(last=False)
        self._known.move_to_end(visitor.key)
        return visitor

    def order(self, visitor: Visitor, name: str) -> int:
        """Take down what is in the cart as an order, and empty it; the order's number."""
        self._orders += 1
        visitor.orders[self._orders] = name
        visitor.cart.clear()
        return self._orders
