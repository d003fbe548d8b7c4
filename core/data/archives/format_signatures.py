"""File formats that are not read, and how to recognise them: what `unreadable` looks up.

`SIGNATURES` lists formats with a magic number, `PATTERNS` those recognised by how their text
begins, `ZIP_KINDS` those that are zip archives with a known layout (Excel, NumPy and so on). To
name another format, add a line.
"""

import re
from dataclasses import dataclass

_UNPACK = "unpack it and give the file of rows inside"
CONVERT_ADVICE = "convert it to CSV or Parquet first"
_PANDAS = "read it with pandas and write it with to_parquet or to_csv"
_TWICE = "unpack it once and give what is inside"
PICKLE_ADVICE = (
    "loading it could run any code, so it is never unpickled; load it where you trust it and write"
    " CSV or Parquet"
)
_MEDIA = "give a file of Criteo rows"
_DOWNLOAD = "that is not the data; download the file again"
_DECRYPT = "decrypt it first"


@dataclass(frozen=True)
class Signature:
    """A format with a magic number.

    Attributes:
        magic: the bytes.
        name: the format with its article, to follow "is" in a sentence.
        advice: what to do, a clause.
        offset: position of `magic` in the file.
        binary: `magic` is made of letters, so the file must also contain control bytes; otherwise a
            text could begin like this.
    """

    magic: bytes
    name: str
    advice: str
    offset: int = 0
    binary: bool = False


SIGNATURES: tuple[Signature, ...] = (
    # Archives and packings.
    Signature(b"7z\xbc\xaf\x27\x1c", "a 7z archive", f"{_UNPACK}, or compress that with gzip"),
    Signature(b"Rar!\x1a\x07", "a RAR archive", f"{_UNPACK}, or compress that with gzip"),
    Signature(
        b"\x04\x22\x4d\x18",
        "compressed with LZ4",
        "unpack it with lz4 -d, or compress it with zstd instead",
    ),
    Signature(
        b"\x02\x21\x4c\x18",
        "compressed with LZ4 (old format)",
        "unpack it with lz4 -d, or compress it with zstd instead",
    ),
    Signature(
        b"\xff\x06\x00\x00sNaPpY",
        "compressed with Snappy",
        "unpack it first, or compress it with zstd instead",
    ),
    Signature(
        b"\x1f\x9d",
        "compressed with Unix compress (.Z)",
        "unpack it with uncompress, or compress it with gzip instead",
    ),
    Signature(
        b"\x1f\xa0",
        "compressed with Unix compress (SCO's .Z)",
        "unpack it with gzip -d, or compress it with gzip instead",
    ),
    Signature(
        b"\x1f\x1e",
        "compressed with Unix pack (.z)",
        "unpack it with gzip -d, or compress it with gzip instead",
    ),
    Signature(
        b"]\x00\x00",
        "compressed with LZMA's old format (.lzma)",
        "unpack it with xz -d, or compress it with xz instead",
    ),
    Signature(
        b"LZIP\x01",
        "compressed with lzip",
        "unpack it with lzip -d, or compress it with xz instead",
    ),
    Signature(
        b"LRZI\x00",
        "compressed with lrzip",
        "unpack it with lrzip -d, or compress it with xz instead",
    ),
    Signature(
        b"\x89LZO\x00\r\n\x1a\n",
        "compressed with lzop",
        "unpack it with lzop -d, or compress it with gzip instead",
    ),
    Signature(b"MSCF\x00\x00\x00\x00", "a cabinet archive (.cab)", _UNPACK),
    Signature(b"xar!\x00", "a xar archive", _UNPACK),
    Signature(b"!<arch>\n", "an ar archive or a Debian package", _UNPACK),
    Signature(b"070701", "a cpio archive", _UNPACK, binary=True),
    Signature(b"\xed\xab\xee\xdb", "an RPM package", _UNPACK),
    Signature(
        b"PK\x07\x08", "one part of a split zip archive", "join its parts and unpack them first"
    ),
    Signature(
        b"\x00\x05\x16\x07",
        "macOS's companion (._) of a file, not the file",
        "give the file without ._",
    ),
    Signature(b"Salted__", "encrypted by OpenSSL", _DECRYPT, binary=True),
    Signature(b"age-encryption.org/", "encrypted by age", _DECRYPT),
    Signature(b"-----BEGIN PGP MESSAGE", "encrypted by PGP", _DECRYPT),
    # Tables.
    Signature(
        b"PARE",
        "a Parquet file with an encrypted footer",
        "write it again without encryption",
        binary=True,
    ),
    Signature(
        b"FEA1",
        "a Feather file of version 1",
        "write it again as version 2 or Parquet",
        binary=True,
    ),
    Signature(b"ORC", "an ORC file", f"{CONVERT_ADVICE} (pyarrow.orc reads it)", binary=True),
    Signature(b"Obj\x01", "an Avro file", CONVERT_ADVICE),
    Signature(b"SEQ\x06", "a Hadoop sequence file", CONVERT_ADVICE),
    Signature(b"RCF\x01", "a Hive RCFile", CONVERT_ADVICE),
    Signature(b"\x89HDF\r\n\x1a\n", "an HDF5 file", _PANDAS),
    Signature(b"CDF\x01", "a NetCDF file", CONVERT_ADVICE),
    Signature(b"SQLite format 3\x00", "an SQLite database", "export its table as CSV"),
    Signature(
        b"DUCK",
        "a DuckDB database",
        "export its table with COPY … TO 'rows.parquet'",
        offset=8,
        binary=True,
    ),
    Signature(b"\x00\x01\x00\x00Standard ", "an Access database", "export its table as CSV"),
    Signature(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Office file (.xls, .doc)",
        "save the sheet as CSV",
    ),
    Signature(b"$FL2@(#)", "an SPSS file", _PANDAS),
    Signature(b"<stata_dta>", "a Stata file", _PANDAS),
    Signature(b"MATLAB 5.0", "a MATLAB file", CONVERT_ADVICE),
    Signature(b"RDX2\n", "an R workspace", "write the table from R with write.csv"),
    Signature(b"RDX3\n", "an R workspace", "write the table from R with write.csv"),
    Signature(b"X\n\x00\x00\x00", "an R object (.rds)", "write the table from R with write.csv"),
    Signature(b"\x93NUMPY", "a NumPy array (.npy)", "write it with column names as CSV or Parquet"),
    # Pickles of protocol 2 on; those before are among PATTERNS.
    *(
        Signature(
            bytes((0x80, protocol)),
            f"a Python pickle (protocol {protocol}), or joblib's",
            PICKLE_ADVICE,
        )
        for protocol in range(2, 6)
    ),
    Signature(b"ZF0x", "an old joblib file", PICKLE_ADVICE),
    Signature(
        b"x\x9c",
        "compressed with zlib (as joblib does)",
        "write CSV or Parquet instead",
        binary=True,
    ),
    Signature(
        b"x\xda",
        "compressed with zlib (as joblib does)",
        "write CSV or Parquet instead",
        binary=True,
    ),
    Signature(
        b"x^", "compressed with zlib (as joblib does)", "write CSV or Parquet instead", binary=True
    ),
    Signature(
        b"x\x01",
        "compressed with zlib (as joblib does)",
        "write CSV or Parquet instead",
        binary=True,
    ),
    # Documents, pictures, sound, programs.
    Signature(b"%PDF-", "a PDF", _MEDIA),
    Signature(b"{\\rtf", "an RTF document", "save it as plain text"),
    Signature(b"\x89PNG\r\n\x1a\n", "a picture (PNG)", _MEDIA),
    Signature(b"\xff\xd8\xff", "a picture (JPEG)", _MEDIA),
    Signature(b"GIF87a", "a picture (GIF)", _MEDIA, binary=True),
    Signature(b"GIF89a", "a picture (GIF)", _MEDIA, binary=True),
    Signature(b"II*\x00", "a picture (TIFF)", _MEDIA),
    Signature(b"MM\x00*", "a picture (TIFF)", _MEDIA),
    Signature(b"BM", "a picture (BMP)", _MEDIA, binary=True),
    Signature(b"RIFF", "a picture, sound or film (RIFF)", _MEDIA, binary=True),
    Signature(b"ftyp", "a film (MP4)", _MEDIA, offset=4, binary=True),
    Signature(b"OggS\x00", "a sound (Ogg)", _MEDIA),
    Signature(b"ID3", "a sound (MP3)", _MEDIA, binary=True),
    Signature(b"\x7fELF", "a program (ELF)", _MEDIA),
    Signature(
        b"MZ", "a program for Windows, or an archive that unpacks itself", _UNPACK, binary=True
    ),
    Signature(b"\xcf\xfa\xed\xfe", "a program for macOS", _MEDIA),
    Signature(b"\xca\xfe\xba\xbe", "a program (Java or macOS)", _MEDIA),
    Signature(
        b"L\x00\x00\x00\x01\x14\x02\x00", "a Windows shortcut", "give the file that it points to"
    ),
    Signature(b"#!", "a script", _MEDIA),
    # Text in another encoding; without a byte order mark it is recognised by its NUL bytes.
    Signature(b"\xff\xfe\x00\x00", "in UTF-32", "save it as UTF-8"),
    Signature(b"\x00\x00\xfe\xff", "in UTF-32", "save it as UTF-8"),
    Signature(b"\xff\xfe", "in UTF-16", "save it as UTF-8"),
    Signature(b"\xfe\xff", "in UTF-16", "save it as UTF-8"),
    # Placeholders for a file that is elsewhere.
    Signature(
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS, not the file",
        "run git lfs pull",
    ),
    Signature(b"/annex/objects/", "a pointer of git-annex, not the file", "run git annex get"),
    Signature(
        b"[InternetShortcut]", "a shortcut to a web address", "download the file that it points to"
    ),
    Signature(b"d8:announce", "a torrent, not the file it names", "download the file itself"),
    Signature(b"d4:info", "a torrent, not the file it names", "download the file itself"),
    Signature(b"HTTP/1.", "an HTTP response with its headers", _DOWNLOAD),
    Signature(b"MIME-Version:", "a saved web page (MHTML)", _DOWNLOAD),
)
"""Formats by magic number. The first match counts, so longer numbers come before shorter ones."""

PACKED_TWICE: tuple[Signature, ...] = (
    Signature(b"\x1f\x8b", "compressed twice, the inner time with gzip", _TWICE),
    Signature(b"BZh", "compressed twice, the inner time with bzip2", _TWICE, binary=True),
    Signature(b"\xfd7zXZ\x00", "compressed twice, the inner time with xz", _TWICE),
    Signature(b"\x28\xb5\x2f\xfd", "compressed twice, the inner time with zstd", _TWICE),
    Signature(b"PK\x03\x04", "compressed twice, inside as a zip archive", _TWICE),
    Signature(b"PK\x05\x06", "compressed twice, inside as a zip archive", _TWICE),
    Signature(b"ustar", "compressed twice, inside as a tar archive", _TWICE, offset=257),
    Signature(
        b"PAR1",
        "a Parquet file within another compression",
        "unpack it and give the Parquet file alone",
        binary=True,
    ),
    Signature(
        b"ARROW1\x00",
        "an Arrow file within another compression",
        "unpack it and give the Arrow file alone",
    ),
    Signature(
        b"\xff\xff\xff\xff",
        "an Arrow stream within another compression",
        "unpack it and give the Arrow file alone",
    ),
)
"""Formats that are read, but not if they are compressed a second time."""


@dataclass(frozen=True)
class Pattern:
    """A format recognised by how its text begins; its group is shown after the name."""

    pattern: re.Pattern[bytes]
    name: str
    advice: str


def _pattern(pattern: bytes, name: str, advice: str) -> Pattern:
    return Pattern(
        re.compile(rb"\A(?:\xef\xbb\xbf)?\s*" + pattern, re.DOTALL | re.IGNORECASE), name, advice
    )


_XML_ERROR = (
    rb"(?:<\?xml[^>]{0,200}\?>\s*)?<Error[^>]{0,200}>.{0,300}?<Code>([^<]{1,60})</Code>",
    rb"(?:<\?xml[^>]{0,200}\?>\s*)?<(?:Error|EnumerationResults|ListBucketResult)\b()",
)
_HTML = rb"(?:<!--.{0,300}?-->\s*)?<(?:!doctype\s+html|html|head|body)\b"
PATTERNS: tuple[Pattern, ...] = (
    *(_pattern(one, "an error page of a storage service in XML", _DOWNLOAD) for one in _XML_ERROR),
    _pattern(_HTML + rb".{0,2000}?<title[^>]{0,99}>\s*([^<]{1,60})", "an HTML page", _DOWNLOAD),
    _pattern(_HTML + rb"()", "an HTML page", _DOWNLOAD),
    _pattern(rb"<svg\b()", "a picture (SVG)", _MEDIA),
    _pattern(rb"<\?xml\b()", "an XML document", CONVERT_ADVICE),
    _pattern(
        rb"\{\s*\"(?:errors?|message|detail)\"\s*:\s*\"?([^\"\n{\[]{0,60})",
        "an error in JSON",
        _DOWNLOAD,
    ),
    _pattern(
        rb"\{\s*\"nbformat|\{\s*\"cells\"\s*:\s*\[()",
        "a Jupyter notebook",
        "give the file that it reads",
    ),
    _pattern(rb"(?:\{\s*(?:\"|\})|\[\s*[\[{])()", "JSON or JSON lines", _PANDAS),
    _pattern(rb"\[\s*(?:-?\d|\"|\])[^\n\t]*()", "JSON", _PANDAS),
    _pattern(
        rb"((?:404: Not Found|403 Forbidden|Access denied|Entry not found|Not Found"
        rb"|Repository not found|Invalid (?:username|credentials)[^\n]{0,40}|Too Many Requests"
        rb"|upstream [^\n]{0,60}))[.\s]*\Z",
        "the error message of a server",
        _DOWNLOAD,
    ),
)
"""Formats of text that hold no rows. The first match counts."""

PICKLE_TEXT = re.compile(
    rb"\A(?:\([ld]p\d+\n|c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n(?:p\d+\n|q.)|[\]})]q\x00)", re.DOTALL
)
"""How a pickle of protocol 0 or 1 begins: a container or a global, then its memo index."""


@dataclass(frozen=True)
class ZipKind:
    """A zip archive with a known layout that is not an archive of rows.

    Attributes:
        name: the format with its article.
        advice: what to do, a clause.
        has: patterns, each of which must match the name of some member.
        only: a pattern that all names must match.
    """

    name: str
    advice: str
    has: tuple[str, ...] = ()
    only: str = ""


ZIP_KINDS: tuple[ZipKind, ...] = (
    ZipKind(
        "an Excel workbook (.xlsx)", "save the sheet as CSV", (r"\[Content_Types\]\.xml", r"xl/.*")
    ),
    ZipKind(
        "a Word document (.docx)", "save its table as CSV", (r"\[Content_Types\]\.xml", r"word/.*")
    ),
    ZipKind("a PowerPoint file (.pptx)", _MEDIA, (r"\[Content_Types\]\.xml", r"ppt/.*")),
    ZipKind(
        "an OpenDocument file (.ods)",
        "save the sheet as CSV",
        (r"mimetype", r"META-INF/manifest\.xml"),
    ),
    ZipKind("an Apple Numbers sheet", "export it as CSV", (r"Index/.*\.iwa",)),
    ZipKind("a torch file (.pt), a pickle inside", PICKLE_ADVICE, (r"[^/]+/data\.pkl",)),
    ZipKind(
        "a Keras model (.keras)",
        "give a file of Criteo rows",
        (r"config\.json", r"model\.weights\.h5"),
    ),
    ZipKind(
        "a backbone exported by Thaw",
        "import it as a backbone",
        (r"card\.json", r"model\.safetensors"),
    ),
    ZipKind(
        "a Java archive (.jar)",
        "give a file of Criteo rows",
        (r"META-INF/MANIFEST\.MF", r".*\.class"),
    ),
    ZipKind(
        "a set of NumPy arrays (.npz)",
        "write them with column names as CSV or Parquet",
        only=r".*\.npy",
    ),
)
