//! The radix trees of path bytes, one for every host, in one arena.
//!
//! A pattern becomes a key: its text, with one byte that no canonical path has
//! for a parameter and one for a wildcard. A node stands for all patterns whose
//! keys start alike. Below it, the next byte of a request's path selects at most
//! one child of text; besides, one child may take a parameter, and one leaf may
//! take all that is left. Trying them in that order, depth first, meets the
//! patterns that match in the order of their specificity.
//!
//! # Cost
//!
//! Only nodes after a slash have alternatives, and all below one alternative is
//! apart from all below the next. So one lookup enters a node at most once, and
//! remembers at most two alternatives for each segment of a pattern: no recursion,
//! no heap. Without backtracking it reads each byte of the path once. Where
//! patterns have text beside a parameter in k segments, up to min(2^k, nodes of the
//! host) nodes are entered: a client cannot make that grow, only a configuration can.

use std::cmp::Reverse;
use std::ops::ControlFlow;

use smallvec::SmallVec;

use crate::route::{MAX_SEGMENTS, PathPattern, Segment};

/// Stands for a parameter in a key. Canonical paths are ASCII, so no text has it.
const PARAM: u8 = 0xFE;
/// Stands for a wildcard in a key. Keys sort as matching does: text, parameter, wildcard.
const WILDCARD: u8 = 0xFF;

/// A path pattern as bytes: equal for patterns that match the same paths, and
/// sorted by specificity.
pub(super) fn key(path: &PathPattern) -> Box<[u8]> {
    let mut key = Vec::new();
    for segment in path.segments() {
        key.push(b'/');
        match segment {
            Segment::Text(text) => key.extend_from_slice(text.as_bytes()),
            Segment::Param(_) => key.push(PARAM),
            Segment::Wildcard => key.push(WILDCARD),
        }
    }
    key.into()
}

/// The first route of a pattern, by its place in the table.
pub(super) type Leaf = u32;
/// A node by its place.
type NodeId = u32;

/// No node, no leaf.
const NONE: u32 = u32::MAX;

/// The longest text of one node, in bytes: what one register compares.
const TEXT_MAX: usize = size_of::<u64>();

/// The trees of all hosts.
#[derive(Debug, Default)]
pub(super) struct Forest {
    nodes: Vec<Node>,
    /// The byte that leads to each node, so that those of siblings are one slice.
    lead_bytes: Vec<u8>,
}

/// The root of one host's tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root(NodeId);

/// Aligned so that none lies across two cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Node {
    /// What the path must go on with, after the byte that led here: at most
    /// [`TEXT_MAX`] bytes as [`word`] has them, compared at once. What is longer
    /// goes on in an only child.
    text: u64,
    /// The children that a byte of text leads to, a range of `nodes`.
    children: (NodeId, NodeId),
    /// The child that goes on with a parameter.
    param: NodeId,
    /// The pattern that ends here with a wildcard.
    wildcard: Leaf,
    /// The pattern that ends here.
    leaf: Leaf,
    /// In bytes.
    text_len: u32,
}

const _: () = assert!(size_of::<Node>() == 32, "two nodes to a cache line");

/// An alternative to come back to.
#[derive(Clone, Copy)]
enum Pending {
    Param { node: NodeId, at: u32 },
    Wildcard(Leaf),
}

/// A node to be made, for the keys that start alike up to `at`.
struct Seed<'k> {
    node: NodeId,
    keys: &'k [(&'k [u8], Leaf)],
    at: usize,
}

impl Forest {
    /// Adds a tree. The keys are sorted and each is there once; there is one at least.
    pub(super) fn plant(&mut self, keys: &[(&[u8], Leaf)]) -> Root {
        let root = self.reserve(0);
        // A stack, so that a node lies near its children and deep keys need no recursion.
        let mut seeds = vec![Seed { node: root, keys, at: 0 }];
        while let Some(seed) = seeds.pop() {
            self.grow(&seed, &mut seeds);
        }
        Root(root)
    }

    fn grow<'k>(&mut self, seed: &Seed<'k>, seeds: &mut Vec<Seed<'k>>) {
        let text = common_text(seed.keys, seed.at);
        let at = seed.at + text.len();
        let mut node = Node { text: word(text), text_len: index(text.len()), ..Node::default() };
        let mut groups = Vec::new();
        for group in seed.keys.chunk_by(|(one, _), (other, _)| one.get(at) == other.get(at)) {
            let Some((key, leaf)) = group.first() else { continue };
            match key.get(at) {
                None => node.leaf = *leaf,
                Some(&WILDCARD) => node.wildcard = *leaf,
                Some(&byte) => groups.push((byte, group)),
            }
        }
        // Where most routes are, most requests may be: those children are found first.
        groups.sort_by_key(|(byte, keys)| (*byte == PARAM, Reverse(keys.len())));
        node.children.0 = index(self.nodes.len());
        node.children.1 = node.children.0;
        for (byte, keys) in groups {
            let child = self.reserve(byte);
            match byte {
                PARAM => node.param = child,
                _ => node.children.1 = child + 1,
            }
            seeds.push(Seed { node: child, keys, at: at + 1 });
        }
        if let Some(place) = self.nodes.get_mut(seed.node as usize) {
            *place = node;
        }
    }

    fn reserve(&mut self, lead_byte: u8) -> NodeId {
        let node = index(self.nodes.len());
        self.nodes.push(Node::default());
        self.lead_bytes.push(lead_byte);
        node
    }

    /// Shows `visit` each pattern that matches, the most specific first, until it breaks.
    pub(super) fn walk<B>(
        &self,
        root: Root,
        path: &[u8],
        mut visit: impl FnMut(Leaf) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut pending: SmallVec<[Pending; 2 * MAX_SEGMENTS]> = SmallVec::new();
        let (mut id, mut rest) = (root.0, path);
        loop {
            let mut next = None;
            if let Some((node, left)) = self.enter(id, rest) {
                if let [byte, after @ ..] = left {
                    if node.wildcard != NONE {
                        pending.push(Pending::Wildcard(node.wildcard));
                    }
                    next = self.child(node, *byte).map(|child| (child, after));
                    if node.param != NONE && next.is_none() {
                        next = skip_segment(left).map(|after| (node.param, after));
                    } else if node.param != NONE {
                        let at = index(path.len() - left.len());
                        pending.push(Pending::Param { node: node.param, at });
                    }
                } else {
                    if node.leaf != NONE {
                        visit(node.leaf)?;
                    }
                    if node.wildcard != NONE {
                        visit(node.wildcard)?;
                    }
                }
            }
            (id, rest) = match next {
                Some(next) => next,
                None => match next_alternative(&mut pending, path, &mut visit)? {
                    Some(next) => next,
                    None => return ControlFlow::Continue(()),
                },
            };
        }
    }

    /// The node and what it leaves of the path, if the path goes on with its text.
    #[inline]
    fn enter<'p>(&self, id: NodeId, path: &'p [u8]) -> Option<(&Node, &'p [u8])> {
        let node = self.nodes.get(id as usize)?;
        let len = node.text_len as usize;
        if len == 0 {
            return Some((node, path));
        }
        // Without what follows the text in the path. `get` refuses a path that ends
        // within the text.
        let differs = (node.text ^ word(path)) << (8 * (TEXT_MAX - len));
        if differs == 0 { Some((node, path.get(len..)?)) } else { None }
    }

    /// The child that this byte leads to.
    #[inline]
    fn child(&self, node: &Node, byte: u8) -> Option<NodeId> {
        let (start, end) = node.children;
        let lead_bytes = self.lead_bytes.get(start as usize..end as usize)?;
        lead_bytes.iter().position(|first| *first == byte).map(|i| index(start as usize + i))
    }
}

impl Default for Node {
    fn default() -> Self {
        Self { text: 0, children: (0, 0), param: NONE, wildcard: NONE, leaf: NONE, text_len: 0 }
    }
}

/// The first [`TEXT_MAX`] bytes, little-endian; zeros follow what is shorter.
#[inline]
fn word(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => text.iter().rev().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte)),
    }
}

/// What follows the segment that the path goes on with, unless that is empty.
#[inline]
fn skip_segment(path: &[u8]) -> Option<&[u8]> {
    let len = path.iter().position(|&byte| byte == b'/').unwrap_or(path.len());
    (len > 0).then(|| path.get(len..))?
}

/// Goes back to the last alternative: where to go on, unless none is left.
#[inline]
fn next_alternative<'p, B>(
    pending: &mut SmallVec<[Pending; 2 * MAX_SEGMENTS]>,
    path: &'p [u8],
    visit: &mut impl FnMut(Leaf) -> ControlFlow<B>,
) -> ControlFlow<B, Option<(NodeId, &'p [u8])>> {
    while let Some(alternative) = pending.pop() {
        match alternative {
            Pending::Wildcard(leaf) => visit(leaf)?,
            Pending::Param { node, at } => {
                if let Some(rest) = path.get(at as usize..).and_then(skip_segment) {
                    return ControlFlow::Continue(Some((node, rest)));
                }
            }
        }
    }
    ControlFlow::Continue(None)
}

/// What all the keys have after `at`, up to a parameter, a wildcard or
/// [`TEXT_MAX`]. The keys are sorted, so what the first and the last share, all do.
fn common_text<'k>(keys: &[(&'k [u8], Leaf)], at: usize) -> &'k [u8] {
    let rest =
        |key: Option<&(&'k [u8], Leaf)>| key.and_then(|(key, _)| key.get(at..)).unwrap_or_default();
    let (first, last) = (rest(keys.first()), rest(keys.last()));
    let len = first
        .iter()
        .zip(last)
        .take(TEXT_MAX)
        .take_while(|(one, other)| one == other && **one < PARAM)
        .count();
    first.get(..len).unwrap_or_default()
}

/// Places of a table are 32 bits wide, which halves a node.
pub(super) fn index(place: usize) -> u32 {
    u32::try_from(place)
        .expect("a configuration of 4 GiB is never read, nor is such a request head")
}
