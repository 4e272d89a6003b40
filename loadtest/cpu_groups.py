"""What a sampled function is for: groups that a reader understands, as data."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Frame:
    """A function, and the file it is from: of the source, or the library where that is not known."""

    function: str
    file: str

    @property
    def place(self):
        """The crate and the file, or the function where there is no source."""
        for pattern in (r"/registry/src/[^/]+/(.*)", r"/library/(.*)", r"/(src/.*)"):
            if found := re.search(pattern, self.file):
                return found[1]
        return self.function


# The first group with a pattern that is in `FILE FUNCTION` of the innermost function takes the sample.
# Files of crates are `/registry/src/…/CRATE-VERSION/src/…`, those of Rust itself `…/library/…`; what is
# left is the program's own.
_OWN = r"^(?!.*/(registry|library|rustc)/).*/src/"
_RULES = [
    ("kernel", r"^\[kernel"),
    ("memory: copied, compared, cleared", r"\b_*(memmove|memcpy|memset|memcmp|bcmp|mempcpy)\w*$"),
    ("memory: allocator", r"/libmimalloc-sys-|\b_?mi_\w+$"),
    ("CORS decision", _OWN + r"(cors/|edits\.rs)"),
    ("routing, choice of upstream", _OWN + r"(route/|upstream/)|/foldhash-"),
    ("metrics", _OWN + r"(metrics/|refused\.rs|proxy/count\.rs)|/prometheus-"),
    ("access log", _OWN + r"(proxy/(line|log)\.rs|server/access_log\.rs)|/(jiff|itoa|thread_local)-"),
    ("request id", _OWN + r"proxy/request_id\.rs|/(uuid|rand|rand_core|rand_chacha|chacha20|getrandom)-"),
    ("corsac: connections", _OWN + r"server/"),
    ("corsac: hooks and the rest", _OWN + r"|/arc-swap-"),
    ("HTTP/1: parsing, framing", r"/httparse-|/pingora-core-[^/]+/src/protocols/http/"),
    ("header maps", r"/http-[\d.]+/|/pingora-http-"),
    ("connections to the origin", r"/pingora-core-[^/]+/src/(connectors|upstreams)/|/pingora-pool-|/crossbeam-queue-"),
    ("proxying", r"/pingora-(proxy|core|error|runtime|cache|lru)-"),
    (
        "timers, clocks",
        r"/pingora-timeout-|/tokio-[\d.]+/src/(runtime/)?time/|clock_gettime|/std/src/(sys/pal/unix/)?time",
    ),
    ("tasks, epoll, channels", r"/(tokio|mio|tokio-util|futures-[\w]+)-[\d.]+/"),
    ("system calls: libc's part", r"libc\.so|libc-[\d.]+|\[vdso\]"),
]
# What stands alone, inlined into nobody.
SHARED, RUST, OTHER = "shared buffers", "Rust's library", "not told apart"
GROUPS = [name for name, _ in _RULES] + [SHARED, RUST, OTHER]
_RULES = [(name, re.compile(pattern)) for name, pattern in _RULES]

# What everything is made of: whoever it was inlined into has asked for it.
_NEUTRAL = re.compile(
    r"/(library|rustc)/"
    r"|/(bitflags|bytes|fnv|hashbrown|indexmap|libc|lock_api|log|memchr|once_cell|parking_lot\w*|pin-project\S*"
    r"|scopeguard|slab|smallvec|socket2)-[\d.]+[^/]*/"
)


def group_of(stack, in_kernel):
    """The group of a sample, and the frame that has decided. `stack`: the innermost function first."""
    if in_kernel:
        return GROUPS[0], Frame("kernel", "")
    if not stack:
        return OTHER, Frame("?", "")
    for frame in stack:
        for name, pattern in _RULES:
            if pattern.search(f"{frame.file} {frame.function}"):
                return name, frame
        if not _NEUTRAL.search(frame.file):
            return OTHER, frame
    outermost = stack[-1]
    if "/bytes-" in outermost.file:
        return SHARED, outermost
    return (RUST if "/library/" in outermost.file else OTHER), outermost
