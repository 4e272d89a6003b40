//! What either side of a hand-over does when something happens: two machines without
//! any I/O, which what is around them feeds and obeys.

pub(in crate::server) mod new;
pub(in crate::server) mod old;

#[cfg(test)]
mod tests;
