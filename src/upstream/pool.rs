//! A pool of endpoints, picked from by smooth weighted round robin.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use smallvec::SmallVec;

/// One node of an upstream: a share of the requests, and where they go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResolvedNode {
    /// The node's share, relative to the others'. At least 1.
    pub weight: u32,
    /// Every address of the node. A name that does not resolve has none, and its
    /// share goes to the others.
    pub addresses: Box<[SocketAddr]>,
}

/// Where one request goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Index of its node.
    pub node: usize,
    /// Tells it from the pool's other endpoints, for [`Tried`]: equal for equal addresses,
    /// whichever node they belong to.
    number: u32,
    /// Its address.
    pub address: SocketAddr,
}

/// The endpoints that a request has been sent to in vain: few, since each was an attempt.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tried(SmallVec<[u32; 4]>);

impl Tried {
    /// Notes that the endpoint failed.
    pub fn add(&mut self, endpoint: Endpoint) {
        if !self.has(endpoint) {
            self.0.push(endpoint.number);
        }
    }

    fn has(&self, endpoint: Endpoint) -> bool {
        self.0.contains(&endpoint.number)
    }
}

/// The endpoints of an upstream.
///
/// The order of smooth weighted round robin repeats after the sum of the
/// weights, so it is worked out once: picking is one atomic addition, and every
/// run of that length honours the weights exactly.
#[derive(Debug)]
pub struct Pool {
    nodes: Box<[ResolvedNode]>,
    /// For each node, one for each of its addresses.
    endpoints: Box<[Box<[Endpoint]>]>,
    schedule: Box<[u32]>,
    next: AtomicUsize,
}

impl Pool {
    /// A pool of these nodes.
    #[must_use]
    pub fn new(nodes: Vec<ResolvedNode>) -> Self {
        let (endpoints, schedule) = (numbered(&nodes), smooth(&nodes));
        Self { nodes: nodes.into(), endpoints, schedule, next: AtomicUsize::new(0) }
    }

    /// The nodes, as they were given.
    #[must_use]
    pub fn nodes(&self) -> &[ResolvedNode] {
        &self.nodes
    }

    /// How often [`Pool::pick`] was asked: where the round stands.
    #[must_use]
    pub fn turn(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    /// Goes on where a pool of the same nodes stood, at any [`Pool::turn`].
    pub fn go_on_at(&self, turn: usize) {
        self.next.store(turn, Ordering::Relaxed);
    }

    /// Whether there is an endpoint that was not tried.
    #[must_use]
    pub fn has_other_than(&self, tried: &Tried) -> bool {
        self.endpoints.iter().flatten().any(|&endpoint| !tried.has(endpoint))
    }

    /// The endpoint that serves next: one that was not tried, where there is one.
    ///
    /// `None`: no node has an address.
    #[must_use]
    pub fn pick(&self, tried: &Tried) -> Option<Endpoint> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let fresh = self.first(turn, |endpoint| !tried.has(endpoint));
        // All were tried: the turn decides, as if none was.
        fresh.or_else(|| self.first(turn, |_| true))
    }

    /// The first endpoint from this turn on that will do.
    fn first(&self, turn: usize, will_do: impl Fn(Endpoint) -> bool) -> Option<Endpoint> {
        let length = self.schedule.len();
        (0..length).find_map(|step| {
            let place = turn.wrapping_add(step);
            let node = *self.schedule.get(place % length)? as usize;
            let endpoints = self.endpoints.get(node)?;
            // A name's addresses take turns, one a lap, so that each gets its
            // share whatever the node's weight.
            let lap = place / length + place % length;
            (0..endpoints.len())
                .filter_map(|step| endpoints.get(lap.wrapping_add(step) % endpoints.len()))
                .copied()
                .find(|&endpoint| will_do(endpoint))
        })
    }
}

/// The addresses of each node, those that are equal by the same number.
fn numbered(nodes: &[ResolvedNode]) -> Box<[Box<[Endpoint]>]> {
    let mut numbers: HashMap<SocketAddr, u32> = HashMap::new();
    let mut endpoint = |node, address| {
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        Endpoint { node, number: *numbers.entry(address).or_insert(next), address }
    };
    let of_node = |(index, node): (usize, &ResolvedNode)| {
        node.addresses.iter().map(|&address| endpoint(index, address)).collect()
    };
    nodes.iter().enumerate().map(of_node).collect()
}

/// Indexes of the nodes that have an address, in the order of smooth weighted
/// round robin: each turn every node gains its weight, and the richest serves
/// and pays the sum of all.
fn smooth(nodes: &[ResolvedNode]) -> Box<[u32]> {
    let weight =
        |node: &ResolvedNode| if node.addresses.is_empty() { 0 } else { i64::from(node.weight) };
    let divisor = nodes.iter().map(weight).fold(0, greatest_common_divisor).max(1);
    let shares: Vec<i64> = nodes.iter().map(|node| weight(node) / divisor).collect();
    let total: i64 = shares.iter().sum();
    let mut credit = vec![0_i64; shares.len()];
    (0..total)
        .filter_map(|_| {
            credit.iter_mut().zip(&shares).for_each(|(credit, share)| *credit += share);
            let richest = (0..credit.len())
                .filter(|&node| shares.get(node).is_some_and(|&share| share > 0))
                // `max_by_key` takes the last of equals; the first is wanted.
                .rev()
                .max_by_key(|&node| credit.get(node).copied())?;
            *credit.get_mut(richest)? -= total;
            u32::try_from(richest).ok()
        })
        .collect()
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use super::*;

    fn node(weight: u32, ports: &[u16]) -> ResolvedNode {
        let address = |&port| SocketAddr::from(([127, 0, 0, 1], port));
        ResolvedNode { weight, addresses: ports.iter().map(address).collect() }
    }

    fn ports(pool: &Pool, count: usize) -> Vec<u16> {
        (0..count).map(|_| pool.pick(&Tried::default()).unwrap().address.port()).collect()
    }

    #[test]
    fn the_order_is_smooth() {
        let cases: &[(&str, Vec<ResolvedNode>, &[u16])] = &[
            ("one", vec![node(7, &[1])], &[1, 1, 1]),
            ("equal", vec![node(2, &[1]), node(2, &[2])], &[1, 2, 1, 2]),
            (
                "5:1:1, the example of nginx's change log",
                vec![node(5, &[1]), node(1, &[2]), node(1, &[3])],
                &[1, 1, 2, 1, 3, 1, 1],
            ),
            ("a node without an address", vec![node(9, &[]), node(1, &[2])], &[2, 2]),
            ("a name's addresses take turns", vec![node(1, &[1, 2])], &[1, 2, 1, 2]),
            ("two names in turn", vec![node(1, &[1, 2]), node(1, &[3])], &[1, 3, 2, 3, 1, 3]),
        ];
        for (case, nodes, expected) in cases {
            assert_eq!(ports(&Pool::new(nodes.clone()), expected.len()), *expected, "{case}");
        }
    }

    #[test]
    fn a_pool_goes_on_where_another_stood() {
        let nodes = vec![node(3, &[1]), node(2, &[2, 3])];
        let old = Pool::new(nodes.clone());
        ports(&old, 4);
        let new = Pool::new(nodes);
        new.go_on_at(old.turn());
        assert_eq!(ports(&new, 20), ports(&old, 20));
        for turn in [usize::MAX, usize::MAX - 1, usize::MAX / 2] {
            new.go_on_at(turn);
            assert_eq!(ports(&new, 3).len(), 3);
        }
    }

    /// Whatever turn it is: those that were tried come again only when all were.
    #[test]
    fn who_was_tried_is_passed_over() {
        #[rustfmt::skip]
        let cases: [(&str, Vec<ResolvedNode>, usize); 4] = [
            ("two nodes",                 vec![node(1, &[1]), node(1, &[2])],        2),
            ("two addresses of a name",   vec![node(1, &[1, 2])],                    2),
            ("a name and an address",     vec![node(3, &[1, 2, 3]), node(1, &[4])],  4),
            ("an address of two nodes",   vec![node(1, &[1, 2]), node(2, &[2])],     2),
        ];
        for (case, nodes, endpoints) in cases {
            let pool = Pool::new(nodes);
            for turn in 0..40 {
                pool.go_on_at(turn);
                let mut tried = Tried::default();
                let mut seen = Vec::new();
                for _ in 0..endpoints {
                    assert!(pool.has_other_than(&tried), "{case}, turn {turn}");
                    let endpoint = pool.pick(&tried).unwrap();
                    assert!(!seen.contains(&endpoint.address), "{case}, turn {turn}: {seen:?}");
                    seen.push(endpoint.address);
                    tried.add(endpoint);
                }
                assert!(!pool.has_other_than(&tried), "{case}, turn {turn}");
                assert!(pool.pick(&tried).is_some(), "{case}: the turn decides again");
            }
        }
    }

    #[test]
    fn an_empty_pool_has_nothing() {
        assert_eq!(Pool::new(Vec::new()).pick(&Tried::default()), None);
    }

    #[test]
    fn every_lap_honours_the_weights() {
        let pool = Pool::new(vec![node(3, &[1]), node(2, &[2]), node(5, &[3])]);
        for _ in 0..3 {
            let mut count = [0; 4];
            for port in ports(&pool, 10) {
                count[usize::from(port)] += 1;
            }
            assert_eq!(count, [0, 3, 2, 5]);
        }
    }
}
