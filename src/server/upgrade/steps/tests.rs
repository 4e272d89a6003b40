//! Both processes, with the channel between them and whatever may befall them: every
//! order of events there is.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::{HashSet, VecDeque};

use super::{new, old};

/// A word on the channel.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Word {
    Serving,
    Failed,
    TookOver,
    Go,
    Withdrawn,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Process<S> {
    Alive(S),
    /// Ended, killed, or crashed.
    Gone,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Who {
    Old,
    New,
}

/// Both processes at one moment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct World {
    old: Process<old::State>,
    new: Process<new::State>,
    /// What either still has to do of its last event.
    old_acts: VecDeque<u8>,
    new_acts: VecDeque<u8>,
    to_old: VecDeque<Word>,
    to_new: VecDeque<Word>,
    /// The main process, as the service manager was told last.
    main: Who,
    /// The new process does nothing any more, and is not gone.
    hangs: bool,
    /// One process may die or hang by itself; with two, anything may be lost.
    is_whole: bool,
    /// Each is told to stop once at the most.
    stops: [bool; 2],
    /// One process was lost, or told to stop, when the other one did not accept.
    nobody_left: bool,
}

const OLD_ACTS: [old::Act; 4] =
    [old::Act::SayGo, old::Act::SayWithdrawn, old::Act::Kill, old::Act::ReclaimMain];
const NEW_ACTS: [new::Act; 5] = [
    new::Act::SayServing,
    new::Act::SayFailed,
    new::Act::ServeAdmin,
    new::Act::BeMain,
    new::Act::SayTookOver,
];

impl World {
    fn new() -> Self {
        Self {
            old: Process::Alive(old::State::Offering),
            new: Process::Alive(new::State::Proving { alone: false }),
            old_acts: VecDeque::new(),
            new_acts: VecDeque::new(),
            to_old: VecDeque::new(),
            to_new: VecDeque::new(),
            main: Who::Old,
            hangs: false,
            is_whole: true,
            stops: [false; 2],
            nobody_left: false,
        }
    }

    fn old_accepts(&self) -> bool {
        matches!(self.old, Process::Alive(state) if state != old::State::HandedOver)
    }

    fn new_accepts(&self) -> bool {
        matches!(self.new, Process::Alive(state) if state != new::State::Withdrawn)
    }

    /// Every world that may come next.
    fn next(&self) -> Vec<Self> {
        let mut worlds = Vec::new();
        let moves_of_new = self.moves_of_new();
        let is_quiet = moves_of_new.is_empty();
        worlds.extend(moves_of_new);
        worlds.extend(self.moves_of_old(is_quiet));
        worlds.extend(self.misfortunes());
        worlds
    }

    /// `is_quiet`: the new process has nothing left to do, so that the longest time passes.
    fn moves_of_old(&self, is_quiet: bool) -> Vec<Self> {
        let Process::Alive(state) = self.old else { return Vec::new() };
        if !self.old_acts.is_empty() {
            return vec![self.clone().do_old_act()];
        }
        if state.is_final() {
            return Vec::new();
        }
        let mut worlds = Vec::new();
        let mut happens = |world: Self, event| worlds.push(world.old_event(state, event));
        let mut read = self.clone();
        match read.to_old.pop_front() {
            Some(Word::Serving) => happens(read, old::Event::Serving),
            Some(Word::TookOver) => happens(read, old::Event::TookOver),
            Some(_) => happens(read, old::Event::Failed),
            None if self.new == Process::Gone => happens(read, old::Event::Ended),
            None => {}
        }
        let is_patient =
            matches!(state, old::State::Withdrawing { .. } | old::State::Killing { .. });
        // What was said is heard first, a death included.
        let is_heard = self.to_old.is_empty() && self.new != Process::Gone;
        if !is_patient || (is_quiet && is_heard) {
            happens(self.clone(), old::Event::TimeIsUp);
        }
        if !self.stops[0] {
            let mut told = self.clone();
            told.stops[0] = true;
            happens(told, old::Event::Stop);
        }
        worlds
    }

    fn old_event(mut self, state: old::State, event: old::Event) -> Self {
        let (state, acts) = state.on(event);
        self.old = Process::Alive(state);
        self.old_acts = acts.iter().map(|act| index(&OLD_ACTS, act)).collect();
        self
    }

    fn do_old_act(mut self) -> Self {
        let act = OLD_ACTS[usize::from(self.old_acts.pop_front().unwrap())];
        match act {
            old::Act::SayGo => self.to_new.push_back(Word::Go),
            old::Act::SayWithdrawn => self.to_new.push_back(Word::Withdrawn),
            old::Act::Kill => {
                assert!(self.new == Process::Gone || self.hangs, "killed in its work: {self:?}");
                self.new = Process::Gone;
            }
            old::Act::ReclaimMain => {
                assert_eq!(self.new, Process::Gone, "two are ready: {self:?}");
                self.main = Who::Old;
            }
        }
        self
    }

    fn moves_of_new(&self) -> Vec<Self> {
        let Process::Alive(state) = self.new else { return Vec::new() };
        if self.hangs {
            return Vec::new();
        }
        if !self.new_acts.is_empty() {
            return vec![self.clone().do_new_act()];
        }
        let mut worlds = Vec::new();
        let mut happens = |world: Self, event| worlds.push(world.new_event(state, event));
        let mut read = self.clone();
        match read.to_new.pop_front().filter(|_| state.listens()) {
            Some(Word::Go) => happens(read, new::Event::Go),
            Some(_) => happens(read, new::Event::Withdrawn),
            None if state.listens() && self.old == Process::Gone => {
                happens(read, new::Event::PeerDied);
            }
            None => {}
        }
        if state.proves() {
            happens(self.clone(), new::Event::Proved);
            happens(self.clone(), new::Event::Mute);
        }
        if !self.stops[1] && state != new::State::Withdrawn && state != new::State::Serving {
            let mut told = self.clone();
            told.stops[1] = true;
            happens(told, new::Event::Stop);
        }
        if state == new::State::Withdrawn {
            // What it had accepted has ended.
            let mut ended = self.clone();
            ended.new = Process::Gone;
            worlds.push(ended);
        }
        worlds
    }

    fn new_event(mut self, state: new::State, event: new::Event) -> Self {
        let (state, acts) = state.on(event);
        self.new = Process::Alive(state);
        self.new_acts = acts.iter().map(|act| index(&NEW_ACTS, act)).collect();
        self.nobody_left |= !self.old_accepts() && !self.new_accepts();
        self
    }

    fn do_new_act(mut self) -> Self {
        let act = NEW_ACTS[usize::from(self.new_acts.pop_front().unwrap())];
        let mut say = |word| {
            if self.old != Process::Gone {
                self.to_old.push_back(word);
            }
        };
        match act {
            new::Act::SayServing => say(Word::Serving),
            new::Act::SayFailed => say(Word::Failed),
            new::Act::SayTookOver => say(Word::TookOver),
            new::Act::ServeAdmin => {}
            new::Act::BeMain => {
                let gave_it_away = matches!(
                    self.old,
                    Process::Gone
                        | Process::Alive(
                            old::State::Committing
                                | old::State::Withdrawing { went: true }
                                | old::State::Killing { went: true }
                        )
                );
                assert!(gave_it_away, "two are ready: {self:?}");
                self.main = Who::New;
            }
        }
        self
    }

    /// A process crashes, or hangs.
    fn misfortunes(&self) -> Vec<Self> {
        let is_over = matches!(self.old, Process::Alive(state) if state.is_final());
        if !self.is_whole || is_over {
            return Vec::new();
        }
        let mut without_old = self.clone();
        without_old.old = Process::Gone;
        without_old.old_acts.clear();
        // It had decided to go on by itself, and said so.
        without_old.nobody_left = !self.new_accepts() || self.to_new.contains(&Word::Withdrawn);
        let mut without_new = self.clone();
        without_new.new = Process::Gone;
        without_new.new_acts.clear();
        // It had said that it serves, which is as if it had died later.
        without_new.nobody_left =
            self.new == Process::Alive(new::State::Serving) && self.new_acts.is_empty();
        let mut hanging = self.clone();
        hanging.hangs = true;
        [without_old, without_new, hanging]
            .into_iter()
            .map(|world| Self { is_whole: false, ..world })
            .collect()
    }

    fn check(&self) {
        assert!(
            self.old_accepts() || self.new_accepts() || self.nobody_left,
            "nobody accepts: {self:?}"
        );
    }

    /// Nothing more will happen.
    fn check_end(&self) {
        let old_serves = self.old == Process::Alive(old::State::ServingOn);
        let new_serves = self.new == Process::Alive(new::State::Serving);
        if self.nobody_left {
            return;
        }
        assert!(old_serves != new_serves, "it is not clear which serves: {self:?}");
        let main = if old_serves { Who::Old } else { Who::New };
        assert_eq!(self.main, main, "the service manager was told otherwise: {self:?}");
    }
}

fn index<A: PartialEq>(acts: &[A], act: &A) -> u8 {
    u8::try_from(acts.iter().position(|known| known == act).unwrap()).unwrap()
}

/// Whatever happens in whatever order: somebody accepts; the new process is not killed
/// before it has ended what it had accepted, unless it hangs; the service manager never
/// has two that are ready, and in the end the one that serves; and it does come to an
/// end.
#[test]
fn every_order_of_events() {
    let mut seen = HashSet::new();
    let mut ahead = vec![World::new()];
    let mut ends = 0;
    while let Some(world) = ahead.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        world.check();
        let next = world.next();
        if next.is_empty() {
            world.check_end();
            ends += 1;
        }
        ahead.extend(next);
    }
    assert!(seen.len() > 500 && ends > 10, "{} worlds, {ends} ends", seen.len());
}

/// A new process that replaces none proves itself, and serves.
#[test]
fn who_is_alone_serves() {
    let (state, acts) = new::State::Proving { alone: true }.on(new::Event::Proved);
    assert_eq!(state, new::State::Serving);
    assert_eq!(acts, [new::Act::ServeAdmin, new::Act::BeMain, new::Act::SayTookOver]);
    assert!(!state.listens() && !state.proves());
}
