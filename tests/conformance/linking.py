"""Links: in sources, in destinations, symbolic and hard."""

from tests.conformance.case import GONE, Case, is_directory, is_link
from tests.support.images import Entry, ReadImage, hardlink, make_tar, symlink


def second_name_is_a_hard_link(image: ReadImage) -> bool:
    entries = image.layers[-1]
    kinds = sorted(entries[name].kind for name in ("to/one", "to/two"))
    return kinds == ["file", "hardlink"]


CASES = (
    Case(
        name="a source that is a link stands for what it leads to",
        dockerfile="""\
            FROM scratch
            COPY alias /
            COPY dir/l* found/
        """,
        context={
            "real": "real",
            "alias": symlink("real"),
            "dir/plain": "plain",
            "dir/lplain": "own",
            "dir/l1": symlink("plain"),
            "dir/l2": symlink("hop"),
            "dir/hop": symlink("end"),
            "dir/end": "end",
        },
        tree={
            "alias": "real",
            "found/lplain": "own",
            "found/l1": "plain",
            "found/l2": "end",
            "real": GONE,
        },
    ),
    Case(
        name="links inside a copied directory stay links wherever they lead",
        dockerfile="""\
            FROM scratch
            COPY dir /dir
        """,
        context={
            "dir/file": "f",
            "dir/near": symlink("file"),
            "dir/broken": symlink("nothing/here"),
            "dir/absolute": symlink("/etc/shadow"),
        },
        tree={
            "dir/near": is_link("file"),
            "dir/broken": is_link("nothing/here"),
            "dir/absolute": is_link("/etc/shadow"),
        },
    ),
    Case(
        name="a link out of the context ends inside it",
        dockerfile="""\
            FROM scratch
            COPY escape /x
        """,
        context={"escape": symlink("../../../../../etc/passwd")},
        error=("escape",),
    ),
    Case(
        name="a destination that is a link to a directory is followed",
        dockerfile="""\
            FROM scratch
            ADD links.tar /
            COPY f /link/
        """,
        context={"links.tar": make_tar({"link": symlink("../var/there")}), "f": "f"},
        tree={"var/there/f": "f", "link": is_link("../var/there")},
    ),
    Case(
        name="a destination that is a link to a file writes that file",
        dockerfile="""\
            FROM scratch
            COPY dir /dir
            COPY fresh /dir/alias
        """,
        context={"dir/file": "stale", "dir/alias": symlink("file"), "fresh": "fresh"},
        tree={"dir/alias": is_link("file"), "dir/file": "fresh"},
    ),
    Case(
        name="names of one file stay one file",
        dockerfile="""\
            FROM scratch AS source
            ADD pair.tar /from/
            FROM scratch
            COPY --from=source /from /to
        """,
        context={"pair.tar": make_tar({"one": Entry(content=b"same"), "two": hardlink("one")})},
        tree={"to/one": "same", "to/two": "same"},
        also=second_name_is_a_hard_link,
    ),
    Case(
        name="a file over a link inside the destination replaces the link",
        dockerfile="""\
            FROM scratch
            COPY old /d
            COPY new /d
        """,
        context={"old/f": symlink("elsewhere"), "old/elsewhere": "kept", "new/f": "file"},
        tree={"d": is_directory(), "d/f": "file", "d/elsewhere": "kept"},
    ),
)
