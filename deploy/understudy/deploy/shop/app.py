"""ASGI application of the shop."""

import asyncio
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.requests import ClientDisconnect

from understudy.deploy.shop.checkout import Customer
from understudy.deploy.shop.pages import Pages
from understudy.deploy.shop.products import BY_SLUG, CATEGORIES, PRODUCTS, in_category, search
from understudy.deploy.shop.texts import LANGUAGES
from understudy.deploy.shop.visitors import COOKIE, Visitor, Visitors

_FORM_BYTES = 65_536
#: nginx's status for a request whose client disconnected.
_CLIENT_CLOSED_REQUEST = 499
_FAVOURITES = PRODUCTS[2:22:5]


def create_shop(delay_s: float = 0.0) -> FastAPI:
    """Creates a shop with its own visitors. `delay_s` is added to each response."""

    async def delay() -> None:
        await asyncio.sleep(delay_s)

    shop = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(delay)])
    _ShopHandlers(Visitors()).serve(shop)
    return shop


class _ShopHandlers:
    """Request handlers; they share the visitors."""

    def __init__(self, visitors: Visitors) -> None:
        self._visitors = visitors

    def serve(self, shop: FastAPI) -> None:
        for path, page in (
            ("/", self.home),
            ("/catalogue", self.catalogue),
            ("/search", self.search),
            ("/product/{slug}", self.product),
            ("/cart", self.cart),
            ("/checkout", self.checkout),
            ("/order/confirmed/{number}", self.confirmed),
            ("/language", self.language),
            ("/about", self.about),
            ("/shipping", self.shipping),
        ):
            shop.get(path, response_class=HTMLResponse)(page)
        for path, form in (
            ("/cart/add", self.add),
            ("/cart/remove", self.remove),
            ("/checkout", self.order),
            ("/newsletter", self.subscribe),
        ):
            shop.post(path, response_class=HTMLResponse)(form)
        shop.exception_handler(404)(self.not_found)
        shop.exception_handler(ClientDisconnect)(_gone)

    async def home(self, request: Request) -> Response:
        visitor = self._visitor(request)
        return _page(visitor, self._pages(visitor, request).home(_FAVOURITES))

    async def catalogue(self, request: Request, category: str = "", page: str = "1") -> Response:
        if category not in ("", *CATEGORIES):
            raise HTTPException(404)
        number = int(page) if page.isdecimal() and len(page) < 6 else 1
        visitor = self._visitor(request)
        return _page(visitor, self._pages(visitor, request).catalogue(category, in_category(category), number))

    async def search(self, request: Request, query: Annotated[str, Query(alias="q")] = "") -> Response:
        visitor = self._visitor(request)
        return _page(visitor, self._pages(visitor, request).results(query, search(query)))

    async def product(self, request: Request, slug: str) -> Response:
        if slug not in BY_SLUG:
            raise HTTPException(404)
        visitor = self._visitor(request)
        pages = self._pages(visitor, request)
        if visitor.should_show_newsletter():
            return _page(visitor, pages.newsletter(f"/product/{slug}"))
        return _page(visitor, pages.product(BY_SLUG[slug]))

    async def cart(self, request: Request) -> Response:
        visitor = self._visitor(request)
        return _page(visitor, self._pages(visitor, request).cart())

    async def add(self, request: Request) -> Response:
        form = await _form(request)
        product = BY_SLUG.get(form.get("product", ""))
        if product is None:
            raise HTTPException(404)
        visitor = self._visitor(request)
        quantity = form.get("quantity", "").strip()
        visitor.put(product, int(quantity) if quantity.isdecimal() and 0 < len(quantity) < 3 else 1)
        return _redirect(visitor, "/cart")

    async def remove(self, request: Request) -> Response:
        form = await _form(request)
        visitor = self._visitor(request)
        visitor.cart.pop(form.get("product", ""), None)
        return _redirect(visitor, "/cart")

    async def checkout(self, request: Request) -> Response:
        visitor = self._visitor(request)
        if not visitor.cart:
            return _redirect(visitor, "/cart")
        return _page(visitor, self._pages(visitor, request).checkout(Customer(), []))

    async def order(self, request: Request) -> Response:
        customer = Customer.from_form(await _form(request))
        visitor = self._visitor(request)
        if not visitor.cart:
            return _redirect(visitor, "/cart")
        if problems := customer.problems(visitor.language):
            return _page(visitor, self._pages(visitor, request).checkout(customer, problems))
        return _redirect(visitor, f"/order/confirmed/{self._visitors.order(visitor, customer.values['name'])}")

    async def confirmed(self, request: Request, number: str) -> Response:
        visitor = self._visitor(request)
        if not number.isdecimal() or int(number[:10]) not in visitor.orders:
            raise HTTPException(404)
        pages = self._pages(visitor, request)
        return _page(visitor, pages.confirmed(visitor.orders[int(number[:10])], int(number[:10])))

    async def language(self, request: Request, lang: str = "", back: str = "/") -> Response:
        visitor = self._visitor(request)
        if lang in LANGUAGES:
            visitor.language = lang
        # Redirect only to this shop, and only to a printable path.
        is_local = back.startswith("/") and not back.startswith(("//", "/\\")) and back.isprintable()
        return _redirect(visitor, back if is_local else "/")

    async def subscribe(self, request: Request) -> Response:
        await _form(request)
        visitor = self._visitor(request)
        return _page(visitor, self._pages(visitor, request).newsletter("/", done=True))

    async def about(self, request: Request) -> Response:
        visitor = self._visitor(request)
        return _page(visitor, self._pages(visitor, request).note("about"))

    async def shipping(self, request: Request) -> Response:
        visitor = self._visitor(request)
        return _page(visitor, self._pages(visitor, request).note("shipping"))

    async def not_found(self, request: Request, _: Exception) -> Response:
        visitor = self._visitor(request)
        return _page(visitor, self._pages(visitor, request).not_found(), status=404)

    def _visitor(self, request: Request) -> Visitor:
        return self._visitors.get_or_create(request.headers.get("cookie", ""))

    def _pages(self, visitor: Visitor, request: Request) -> Pages:
        query = f"?{request.url.query}" if request.url.query else ""
        path = request.url.path
        # A redirect back must not lead to the response of a POST; the checkout form is an exception.
        return Pages(visitor, path + query if request.method == "GET" or path == "/checkout" else "/")


async def _gone(_: Request, __: Exception) -> Response:
    """Answers a visitor who left before the form had arrived, as at the cancel of a run; the answer is dropped."""
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM_BYTES:
            raise HTTPException(413)
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise HTTPException(400) from None


def _page(visitor: Visitor, html: str, status: int = 200) -> Response:
    return _with_cookie(visitor, HTMLResponse(html, status, headers={"Cache-Control": "no-store"}))


def _redirect(visitor: Visitor, path: str) -> Response:
    return _with_cookie(visitor, RedirectResponse(path, 303))


def _with_cookie(visitor: Visitor, response: Response) -> Response:
    response.set_cookie(COOKIE, visitor.key, max_age=86_400, httponly=True, samesite="lax")
    return response
