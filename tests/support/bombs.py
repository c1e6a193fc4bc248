"""Documents made to hurt their reader: small files that unpack, expand, nest or refer to themselves without end."""

import io
import warnings
import zipfile
import zlib

import docx

MIB = 1024 * 1024
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'


def body(inner, *, head=HEAD):
    """The XML of a document's main part."""
    return f'{head}<w:document xmlns:w="{W}"><w:body>{inner}</w:body></w:document>'


def paragraph(text):
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def repacked(part, content, also=None):
    """A DOCX, one part of which is another; ``also`` are further ones."""
    good, stream = io.BytesIO(), io.BytesIO()
    document = docx.Document()
    document.add_paragraph("The shop must be open.")
    document.save(good)
    parts = {part: content, **(also or {})}
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, parts.pop(member.filename, None) or source.read(member))
        for name, extra in parts.items():
            target.writestr(name, extra)
    return stream.getvalue()


def main_part(inner, **options):
    return repacked("word/document.xml", body(inner, **options))


def laughs(depth=10, width=10):
    """Entities that hold each other: a billion laughs."""
    kinds = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * width}">' for n in range(1, depth))
    return f'<!DOCTYPE w:document [<!ENTITY l0 "lol">{kinds}]>'


def cells(span="", merge=""):
    wide = f'<w:gridSpan w:val="{span}"/>' if span else ""
    return f"<w:tc><w:tcPr>{wide}{merge}</w:tcPr>{paragraph('must')}</w:tc>"


def docx_bombs():
    """Name and bytes of each."""
    laughing = HEAD + laughs()
    yield "billion laughs", main_part(paragraph("&l9;"), head=laughing)
    yield (
        "billion laughs, UTF-16",
        repacked(
            "word/document.xml", body(paragraph("&l9;"), head=laughing.replace("UTF-8", "UTF-16")).encode("utf-16")
        ),
    )
    yield (
        "billion laughs behind a long comment",
        main_part(paragraph("&l9;"), head=f"{HEAD}<!--{'x' * 10_000}-->{laughs()}"),
    )
    yield (
        "quadratic entity",
        main_part(paragraph("&a;" * 50_000), head=f'{HEAD}<!DOCTYPE w:document [<!ENTITY a "{"a" * 50_000}">]>'),
    )
    for name, target in (("file", "file:///etc/passwd"), ("http", "http://127.0.0.1:1/x")):
        yield (
            f"external entity, {name}",
            main_part(
                paragraph("The shop must &x; be open."),
                head=f'{HEAD}<!DOCTYPE w:document [<!ENTITY x SYSTEM "{target}">]>',
            ),
        )
    yield "external DTD", main_part(paragraph("must"), head=f'{HEAD}<!DOCTYPE w:document SYSTEM "file:///etc/passwd">')
    yield (
        "entities in the relations",
        repacked("word/_rels/document.xml.rels", f"{laughing}<Relationships>&l9;</Relationships>"),
    )
    yield "entities in a part of another name", repacked("docProps/core.xml", f"{laughing}<x>&l9;</x>")
    yield "many small elements", main_part("<w:p/>" * 60_000)
    yield "many attributes", main_part("<w:p " + " ".join(f'a{n}="1"' for n in range(30_000)) + "/>")
    yield "very deep", main_part("<w:p>" * 10_000 + "</w:p>" * 10_000)
    yield "one endless text", main_part(paragraph("must " * (3 * MIB)))
    yield "a cell as wide as the world", main_part(f"<w:tbl><w:tr>{cells(span=2_000_000_000)}</w:tr></w:tbl>")
    begun, going_on = '<w:vMerge w:val="restart"/>', '<w:vMerge w:val="continue"/>'
    rows = f"<w:tr>{cells(merge=begun)}</w:tr>" + f"<w:tr>{cells(merge=going_on)}</w:tr>" * 5_000
    yield "a cell as high as the world", main_part(f"<w:tbl>{rows}</w:tbl>")
    yield "tables in tables", main_part("<w:tbl><w:tr><w:tc>" * 80 + paragraph("must") + "</w:tc></w:tr></w:tbl>" * 80)
    yield "a merge with nothing above", main_part(f"<w:tbl><w:tr>{cells(merge=going_on)}</w:tr></w:tbl>")
    yield "many parts", repacked("word/document.xml", body("x"), also={f"x/{n}.xml": b"<x/>" for n in range(6_000)})
    yield "two parts of one name", twice()
    yield "a part outside", repacked("word/document.xml", body(paragraph("must")), also={"../../evil.xml": b"<x/>"})
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="s{n}"><w:name w:val="n{n}"/></w:style>' for n in range(1_500)
    )
    styled = "".join(f'<w:p><w:pPr><w:pStyle w:val="s{n}"/></w:pPr><w:r><w:t>x</w:t></w:r></w:p>' for n in range(6_000))
    yield (
        "many styles, many paragraphs",
        repacked(
            "word/document.xml",
            body(styled),
            also={"word/styles.xml": f'{HEAD}<w:styles xmlns:w="{W}">{styles}</w:styles>'},
        ),
    )


def twice():
    """An archive in which the guard and the parser could read different members."""
    stream = io.BytesIO(main_part(paragraph("must")))
    with zipfile.ZipFile(stream, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("word/document.xml", body(paragraph("&l9;"), head=HEAD + laughs()))
    return stream.getvalue()


def pdf(*objects):
    """A PDF of these objects, numbered from 1; the first is the catalogue."""
    out, places = bytearray(b"%PDF-1.7\n"), []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one if isinstance(one, bytes) else one.encode())
    at = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out + b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, at))


def stream(data, more=""):
    return f"<<{more}/Length {len(data)}>>\nstream\n".encode() + data + b"\nendstream"


def deflated(data, times=1):
    for _ in range(times):
        data = zlib.compress(data, 9)
    return stream(data, f"/Filter [{'/FlateDecode ' * times}]")


TEXT = b"BT /F1 9 Tf (The shop must be open.) Tj ET\n"
FONT = "/Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>"


def page(content, resources=FONT, *more):
    """One page with a content stream."""
    return pdf(
        "<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<<{resources}>>/MediaBox[0 0 9 9]>>", content, *more,
    )  # fmt: skip


def forms(depth, width):
    """Forms that show each other: as a billion laughs."""
    made = []
    for n in range(depth):
        inner = b"BT /F1 9 Tf (must) Tj ET" if n == depth - 1 else b"/X Do " * width
        below = f"/XObject<</X {6 + n} 0 R>>" if n < depth - 1 else ""
        made.append(stream(inner, f"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<<{FONT}{below}>>"))
    return page(stream(b"/X Do"), f"{FONT}/XObject<</X 5 0 R>>", *made)


def long_pdf():
    """A small file that takes many seconds to be read."""
    return page(deflated(TEXT * 400_000))


def pdf_bombs():
    """Name and bytes of each."""
    yield "a stream that unpacks", page(deflated(b" " * (100 * MIB)))
    yield "a stream packed twice", page(deflated(b" " * (100 * MIB), 2))
    yield "a stream packed a hundred times", page(deflated(TEXT, 100))
    yield "a form that shows itself", page(
        stream(b"/X Do"), f"{FONT}/XObject<</X 5 0 R>>",
        stream(b"/X Do", "/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 5 0 R>>>>"),
    )  # fmt: skip
    yield "forms that show each other", forms(6, 4)
    yield "deep lists", page(stream(b"[" * 200_000))
    yield (
        "a deep list as an object",
        pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>", "[" * 100_000 + "]" * 100_000),
    )
    yield "deep dictionaries", pdf("<</Type/Catalog/Pages 2 0 R>>", "<</A" * 100_000 + ">>" * 100_000)
    yield "pages that are their own parent", pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[2 0 R]/Count 1>>")
    yield (
        "pages in a circle",
        pdf(
            "<</Type/Catalog/Pages 2 0 R>>",
            "<</Type/Pages/Kids[3 0 R 3 0 R]/Count 9>>",
            "<</Type/Pages/Kids[2 0 R 2 0 R]/Count 9>>",
        ),
    )
    yield (
        "pages without end",
        pdf(
            "<</Type/Catalog/Pages 2 0 R>>",
            *(f"<</Type/Pages/Count 9/Kids[{' '.join([f'{n} 0 R'] * 10)}]>>" for n in range(3, 14)),
            "<</Type/Page/MediaBox[0 0 9 9]>>",
        ),
    )
    yield "a reference to itself", pdf("<</Type/Catalog/Pages 2 0 R>>", "2 0 R")
    yield "a length that is itself", pdf(
        "<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/Contents 4 0 R>>", b"<</Length 4 0 R>>\nstream\nx\nendstream",
    )  # fmt: skip
    yield (
        "tables that follow each other",
        (
            b"%PDF-1.7\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n"
            b"xref\n0 1\n0000000000 65535 f \ntrailer\n<</Size 2/Root 1 0 R/Prev 54>>\nstartxref\n54\n%%EOF"
        ),
    )
    yield (
        "a table of a billion",
        (
            b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\nxref\n0 1000000000\n0000000000 65535 f \n"
            b"trailer\n<</Size 1000000000/Root 1 0 R>>\nstartxref\n43\n%%EOF"
        ),
    )
    yield "a count of a billion", pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[]/Count 1000000000>>")
    yield (
        "a predictor as wide as the world",
        page(stream(zlib.compress(TEXT), "/Filter/FlateDecode/DecodeParms<</Predictor 12/Columns 2000000000>>")),
    )
    yield "many objects", pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[]/Count 0>>", *["<<>>"] * 20_000)
    yield "a run of one byte", page(stream(b"\x81 " * (4 * MIB), "/Filter/RunLengthDecode"))
    yield "an LZW stream", page(stream(b"\x80\x0b\x60\x50\x22\x0c\x0c\x85\x01" * 100_000, "/Filter/LZWDecode"))
    yield "an image", page(stream(b"BI /W 99999 /H 99999 /BPC 8 /CS /RGB ID " + b"x" * MIB))
    yield "a map of characters without end", page(
        stream(b"BT /F1 9 Tf <00010002> Tj ET"), "/Font<</F1 5 0 R>>",
        "<</Type/Font/Subtype/Type0/BaseFont/X/Encoding/Identity-H/ToUnicode 6 0 R/DescendantFonts[]>>",
        stream(b"1 begincodespacerange <0000><FFFF> endcodespacerange\n"
               b"1 beginbfrange\n<00000000> <7FFFFFFF> <0041>\nendbfrange"),
    )  # fmt: skip


def text_bombs():
    """Name and bytes of each: Markdown whose marks never close."""
    yield "open brackets.md", b"[" * 8_000
    yield "open links.md", b"[a](" * 8_000
    yield "quotes in quotes.md", b">" * 20_000 + b" must"
    yield "lists in lists.md", b"- " * 8_000 + b"must"
    yield "stars.md", b"*a **a " * 8_000
    yield "underscores.md", b"_" * 50_000 + b"a"
    yield "ticks.md", b"".join(b"`" * n + b" " for n in range(1, 400))
    yield "open angles.md", b"<a " * 30_000
    yield "a wide table.md", b"|" * 20_000 + b"\n" + b"|-" * 20_000 + b"|\n" + b"|a" * 20_000
    yield "entities.md", b"&" * 50_000 + b"amp;" * 50_000
    yield "definitions.md", b"".join(b"[%d]: x\n" % n for n in range(20_000)) + b"must"
    yield "one line.txt", b"must " * 400_000
    yield "many lines.txt", b"\n" * 1_000_000 + b"must"
    yield "hyphens.txt", b"-\n" * 100_000 + b"must"
    yield "no letters.txt", b"\xff" * 100_000


def by_name():
    """The name of each, its file's name and its bytes."""
    found = {name: ("a.docx", data) for name, data in docx_bombs()}
    found |= {name: ("a.pdf", data) for name, data in pdf_bombs()}
    return found | {name: (name, data) for name, data in text_bombs()}
