"""What the book needs of Sphinx beyond its configuration: nothing here changes what a page says.

* MathJax and its fonts are copied from the installed package, so that mathematics works offline.
* Each page loads the few styles and scripts that it uses, none of the theme's.
* Pictures get their real width and height, wide tables a frame that scrolls.
* Pages of claims, reference and status are written by `costlab_reference`.
* ``{receipt}`` draws the book's receipt from lines ``name | value`` that may hold ``{glue:text}``.
"""

from __future__ import annotations

import html
import importlib.metadata
import re
import shutil
import struct
from pathlib import Path
from urllib.parse import urlsplit

import costlab_reference
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# What a page may load. A pair names what the page must hold for the file to be worth loading.
ALWAYS = (
    "costlab.css",
    "receipt.css",
    "costlab.js",
    "documentation_options.js",
    "doctools.js",
    "sphinx_highlight.js",
)
IF_USED = (
    ("mathjax/", 'class="math'),
    ("mathjax", 'class="math'),  # its inline configuration, which has no file name
    ("sphinx-design", 'class="sd-'),
    ("design-tabs", "sd-tab-set"),
    ("calc", 'class="calculator"'),
)
UNUSED_STATIC = (
    "vendor",
    "webpack-macros.html",
    "sbt-webpack-macros.html",
    "locales",
    "images",
    "scripts",
    "styles",
    "thebe_button.js",
    "sphinx-thebe.js",
    "sphinx-thebe.css",
    "copybutton.js",
    "copybutton.css",
    "copybutton_funcs.js",
    "clipboard.min.js",
    "check-solid.svg",
    "copy-button.svg",
    "togglebutton.js",
    "togglebutton.css",
)


def site_address(repository: str) -> str:
    """Return the GitHub Pages address of a repository's address; empty for any other host."""
    owner, _, name = urlsplit(repository).path.strip("/").partition("/")
    if urlsplit(repository).netloc != "github.com" or not name:
        return ""
    return f"https://{owner}.github.io/{name}/"


def colab_address(repository: str, branch: str, path: str) -> str:
    """Return the address that opens a notebook of the repository in Colab."""
    slug = urlsplit(repository).path.strip("/")
    return f"https://colab.research.google.com/github/{slug}/blob/{branch}/{path}"


def set_addresses(app: Sphinx, config) -> None:
    """Derive the site's address from the repository's, the one setting a fork changes."""
    repository = config.html_theme_options.get("repository_url", "")
    config.html_baseurl = config.html_baseurl or site_address(repository)


# --- pages ---------------------------------------------------------------------------------


def is_wanted(name: str, body: str) -> bool:
    """Say whether a page with this body needs the style or script of this name."""
    if name.endswith(ALWAYS):
        return True
    return any(part in name and sign in body for part, sign in IF_USED)


def picture_size(path: Path) -> tuple[int, int] | None:
    """Return the width and height in CSS pixels at which a picture is meant to be seen.

    PNG files are drawn at twice their size, for sharp screens. Other formats give ``None``.
    """
    head = path.read_bytes()[:24]
    if head[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    width, height = struct.unpack(">II", head[16:24])
    return round(width / 2), round(height / 2)


def dress_pictures(body: str, sources: dict[str, Path]) -> str:
    """Give every picture its size, and let all but the first wait until they are near."""
    count = 0

    def dress(match: re.Match) -> str:
        nonlocal count
        count += 1
        tag = match.group(0)
        name = re.search(r'src="[^"]*?([^"/]+)"', tag)
        size = picture_size(sources[name.group(1)]) if name and name.group(1) in sources else None
        extra = ' decoding="async"' + (' loading="lazy"' if count > 1 else "")
        if size and not re.search(r'\s(width|height)="', tag):
            extra += f' width="{size[0]}" height="{size[1]}"'
        return re.sub(r"\s*/?>$", extra + " />", tag)

    return re.sub(r"<img\b[^>]*>", dress, body)


def frame_tables(body: str) -> str:
    """Put each table in a frame, so that a wide one scrolls by itself on a phone."""
    return re.sub(
        r"(<table\b.*?</table>)", r'<div class="table-frame">\1</div>', body, flags=re.DOTALL
    )


def mend_roles(body: str) -> str:
    """Take out names and roles that say other than what the page shows.

    Docutils gives its citations roles that no browser accepts where they stand; MyST-NB names
    every folded cell alike, whatever its summary reads.
    """
    body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    return re.sub(r' role="(?:list|doc-biblioentry|doc-backlink)"', "", body)


def description_of(doctree: nodes.document) -> str:
    """Return what a page says of itself in ``myst.html_meta``, which notebooks keep as metadata."""
    found = [
        one["content"] for one in doctree.findall(nodes.meta) if one.get("name") == "description"
    ]
    return found[0] if found else ""


def finish_page(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Choose the page's files and mend its HTML just before it is written."""
    body = context.get("body", "")
    sources = {name: Path(app.srcdir, path) for path, name in app.builder.images.items()}
    context["body"] = mend_roles(frame_tables(dress_pictures(body, sources)))
    for key in ("css_files", "script_files"):
        files = context[key]
        files[:] = [one for one in files if is_wanted(_file_name(one), body)]
    # The layout says it already; docutils says it once more.
    context["metatags"] = re.sub(r'<meta name="viewport"[^>]*>\s*', "", context.get("metatags", ""))
    options = app.config.html_theme_options
    repository, branch = options["repository_url"], options["repository_branch"]
    context["repository_url"] = repository
    suffix = context.get("page_source_suffix", "")
    if doctree is not None:
        context["description"] = description_of(doctree)
        context["source_url"] = f"{repository}/blob/{branch}/{pagename}{suffix}"
    if suffix == ".ipynb":
        context["colab_url"] = colab_address(repository, branch, f"{pagename}.ipynb")


def _file_name(asset) -> str:
    """Return an asset's file name, or for an inline script the library it configures."""
    name = str(getattr(asset, "filename", asset) or "")
    text = str(getattr(asset, "attributes", {}).get("body", ""))
    return name.split("?")[0] or ("mathjax" if text.startswith("window.MathJax") else "")


def root_page(app: Sphinx):
    """Make the site's ``index.html``, which leads to the book's first page."""
    description = description_of(app.env.get_doctree(app.config.root_doc))
    yield "index", {"description": description}, "index.html"


# --- files ---------------------------------------------------------------------------------


def copy_mathjax(static: Path) -> None:
    """Copy MathJax's TeX-to-HTML component, lazy drawing and fonts from the installed package."""
    package = importlib.metadata.distribution("sphinx-mathjax-offline")
    source = Path(package.locate_file("sphinx-mathjax-offline/static/mathjax"))
    target = static / "mathjax"
    for name in ("tex-chtml.js", "ui/lazy.js"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    fonts = "output/chtml/fonts/woff-v2"
    shutil.copytree(source / fonts, target / fonts, dirs_exist_ok=True)


def copy_receipt(app: Sphinx) -> None:
    """Copy the receipt's style, whose one source is the package, before pages name it."""
    target = Path(app.outdir, "_static")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(app.srcdir, "costlab", "receipt.css"), target / "receipt.css")


def finish_site(app: Sphinx, error: Exception | None) -> None:
    """Add MathJax to the built site and take out what no page loads."""
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    copy_mathjax(static)
    copy_receipt(app)
    for name in UNUSED_STATIC:
        path = static / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


# --- the receipt ---------------------------------------------------------------------------


class Receipt(SphinxDirective):
    """``{receipt} title`` with lines ``name | value``; ``!`` marks a measured one, ``=`` a total.

    A line ``---`` begins the part about quality; a line without ``|`` is the foot.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        title = html.escape(self.arguments[0])
        out = [
            _raw(
                f'<div class="costlab-receipt" role="group" aria-label="The bill: {title}">'
                '<div class="head"><span class="shop">The Cost Lab</span>'
                f'<span class="what">{title}</span></div><dl>'
            )
        ]
        closing = "</dl></div>"
        for line in filter(None, map(str.strip, self.content)):
            if line == "---":
                out.append(_raw('</dl><div class="quality"><dl>'))
                closing = "</dl></div></div>"
            elif "|" in line:
                out += self._line(line)
            else:
                out.append(_raw("</dl>" + ("</div>" if closing.count("div") > 1 else "")))
                out += [_raw('<div class="foot">'), *self._inline(line), _raw("</div>")]
                closing = "</div>"
        return [_wrapped([*out, _raw(closing)])]

    def _line(self, line: str) -> list[nodes.Node]:
        marks = re.match(r"[!=]*", line).group(0)
        kind = "line" + " total" * ("=" in marks) + " measured" * ("!" in marks)
        name, _, value = line[len(marks) :].partition("|")
        return [
            _raw(f'<div class="{kind}"><dt>'),
            *self._inline(name.strip()),
            _raw("</dt><dd>"),
            *self._inline(value.strip()),
            _raw("</dd></div>"),
        ]

    def _inline(self, text: str) -> list[nodes.Node]:
        return self.state.inline_text(text, self.lineno)[0]


def _raw(text: str) -> nodes.raw:
    return nodes.raw("", text, format="html")


def _wrapped(children: list[nodes.Node]) -> nodes.Element:
    """Hold inline nodes without the paragraph that a definition list may not stand in."""
    holder = nodes.container(classes=["receipt-frame"])
    holder += children
    return holder


def setup(app: Sphinx) -> dict:
    app.add_directive("receipt", Receipt)
    app.connect("config-inited", set_addresses, priority=400)
    app.connect("builder-inited", copy_receipt)
    app.connect("source-read", costlab_reference.fill)
    app.connect("html-page-context", finish_page, priority=950)
    app.connect("html-collect-pages", root_page)
    app.connect("build-finished", finish_site, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
