//! The cache's protocol, in every order in which its steps can happen.
//!
//! A small world: one thing in the database that writers change, two instances, a shared cache that may be flushed at any
//! moment. The search takes every step that can be taken in every state that can be reached. Whether an entry holds is
//! asked of the server's own [`Log`]. The same search over protocols that others use finds what is wrong with them, which
//! shows that it can.

use std::collections::HashSet;
use std::sync::LazyLock;

use stockroom::domain::changes::{Dependencies, Entity, Log, Noted, Version};
use uuid::Uuid;

const WRITERS: usize = 2;
const READERS: usize = 3;
/// Readers take turns on these.
const INSTANCES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// Ours: the version first, then the caches, then the data, kept under that version.
    VersionFirst,
    /// The data first, then the version under which they are kept.
    VersionLast,
    /// The version may be one that another request on the instance saw before this one came.
    VersionFromBefore,
    /// No versions: a writer deletes the shared entry after its commit.
    DeleteAfterCommit,
    /// No versions: a writer deletes the shared entry before its commit, and after it once more.
    DeleteTwice,
    /// The version lives in the shared cache, and a writer raises it after its commit.
    GenerationInCache,
}

/// An entry: the version it was kept under, and the value.
type Entry = (u8, u8);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    /// Each write raises both by one, in one transaction.
    value: u8,
    version: u8,
    shared: Option<Entry>,
    /// For [`Protocol::GenerationInCache`].
    generation: u8,
    flushes_left: u8,
    in_process: [Option<Entry>; INSTANCES],
    /// Whole responses, made of what was read, under the version up to which that is known to hold.
    responses: [Option<Entry>; INSTANCES],
    seen: [u8; INSTANCES],
    acknowledged: u8,
    writers: [Writer; WRITERS],
    readers: [Reader; READERS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Writer {
    step: u8,
    /// That it made.
    version: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Reader {
    step: u8,
    /// What was acknowledged when it began.
    owed: u8,
    version: u8,
    value: u8,
}

const DONE: u8 = 9;

/// Whether an entry that was kept under `kept` holds at `now`, as the server decides it.
fn holds(kept: u8, now: u8) -> bool {
    static DECIDED: LazyLock<[[bool; WRITERS + 1]; WRITERS + 1]> =
        LazyLock::new(|| std::array::from_fn(|kept| std::array::from_fn(|now| decide(kept, now))));
    DECIDED[usize::from(kept)][usize::from(now)]
}

fn decide(kept: usize, now: usize) -> bool {
    let version = |number: usize| Version::try_from(number).unwrap();
    let mut log = Log::starting_at(0);
    for number in 1..=now {
        log.append(Noted::new(version(number), Entity::Product, Some(Uuid::nil())));
    }
    kept <= now && log.untouched(&Dependencies::on_all(&[Entity::Product]), version(kept))
}

impl World {
    fn start() -> Self {
        Self {
            value: 0,
            version: 0,
            shared: None,
            generation: 0,
            flushes_left: 1,
            in_process: [None; INSTANCES],
            responses: [None; INSTANCES],
            seen: [0; INSTANCES],
            acknowledged: 0,
            writers: [Writer::default(); WRITERS],
            readers: [Reader::default(); READERS],
        }
    }

    /// Every world that is one step away; an error is a reader that was told less than it was owed.
    fn next(&self, protocol: Protocol) -> Result<Vec<Self>, String> {
        let mut worlds = Vec::new();
        for writer in 0..WRITERS {
            worlds.extend(self.write(protocol, writer));
        }
        for reader in 0..READERS {
            if let Some(world) = self.read(protocol, reader)? {
                worlds.push(world);
            }
        }
        if self.flushes_left > 0 {
            let mut world = self.clone();
            world.flushes_left -= 1;
            world.shared = None;
            world.generation = 0;
            worlds.push(world);
        }
        Ok(worlds)
    }

    fn write(&self, protocol: Protocol, writer: usize) -> Option<Self> {
        let mut world = self.clone();
        match (self.writers[writer].step, protocol) {
            (1, _) => {
                world.version += 1;
                world.value += 1;
                world.writers[writer].version = world.version;
            }
            // Its instance notes what it committed, if that follows on what it has seen.
            (2, Protocol::VersionFirst) => {
                let made = std::mem::take(&mut world.writers[writer].version);
                let seen = &mut world.seen[writer % INSTANCES];
                if *seen + 1 == made {
                    *seen = made;
                }
            }
            (2, Protocol::DeleteAfterCommit) | (0 | 2, Protocol::DeleteTwice) => world.shared = None,
            (2, Protocol::GenerationInCache) => world.generation += 1,
            (0 | 2, _) => {}
            (3, _) => world.acknowledged = world.acknowledged.max(world.version),
            _ => return None,
        }
        world.writers[writer].step += 1;
        Some(world)
    }

    fn read(&self, protocol: Protocol, number: usize) -> Result<Option<Self>, String> {
        let versioned = !matches!(protocol, Protocol::DeleteAfterCommit | Protocol::DeleteTwice);
        let instance = number % INSTANCES;
        let mut world = self.clone();
        let mut reader = self.readers[number];
        // The server's log may have moved on since this reader asked; it is the log that says what holds.
        let known = if protocol == Protocol::VersionFirst { self.seen[instance] } else { reader.version };
        match reader.step {
            0 => {
                reader.owed = self.acknowledged;
                reader.step = 1;
            }
            1 => {
                reader.version = match protocol {
                    Protocol::VersionFromBefore => self.seen[instance],
                    Protocol::GenerationInCache => self.generation,
                    _ => self.version,
                };
                world.seen[instance] = world.seen[instance].max(self.version);
                reader.step = 2;
            }
            // In process, which is only safe with versions. What was read later than this reader asked is fresh to it.
            2 | 3 => {
                let kept = if reader.step == 2 { self.responses } else { self.in_process };
                match kept[instance] {
                    Some((kept, value)) if versioned && (kept >= reader.version || holds(kept, known)) => {
                        (reader.version, reader.value) = (kept.max(reader.version), value);
                        reader.step = 7;
                    }
                    // What the log says of some changes is all that they make of an answer: each raises the value by one.
                    Some((kept, value)) if protocol == Protocol::VersionFirst && reader.step == 3 && known % 2 == 0 => {
                        let amended = (known, value + (known - kept));
                        world.in_process[instance] = world.in_process[instance].max(Some(amended));
                        world.shared = Some(amended);
                        (reader.version, reader.value) = amended;
                        reader.step = 7;
                    }
                    _ => reader.step += 1,
                }
            }
            4 => match self.shared {
                Some((kept, value)) if !versioned || holds(kept, known) => {
                    reader.value = value;
                    world.in_process[instance] = Some((kept.max(reader.version), value));
                    reader.step = 7;
                }
                _ => reader.step = 5,
            },
            5 => {
                reader.value = self.value;
                reader.step = 6;
            }
            6 => {
                if protocol == Protocol::VersionLast {
                    reader.version = self.version;
                }
                let entry = (reader.version, reader.value);
                // What is newer stays in process.
                world.in_process[instance] = world.in_process[instance].max(Some(entry));
                world.shared = Some(entry);
                reader.step = 7;
            }
            7 => {
                if reader.value < reader.owed {
                    return Err(format!("reader {number} was told {}, owed {}: {self:?}", reader.value, reader.owed));
                }
                let response = Some((reader.version, reader.value));
                world.responses[instance] = world.responses[instance].max(response);
                // Worlds that differ in what is over are one.
                reader = Reader { step: DONE, ..Reader::default() };
            }
            _ => return Ok(None),
        }
        world.readers[number] = reader;
        Ok(Some(world))
    }
}

/// Every reachable world; how many there are, or the first stale answer.
fn search(protocol: Protocol) -> Result<usize, String> {
    let mut known = HashSet::from([World::start()]);
    let mut open = vec![World::start()];
    while let Some(world) = open.pop() {
        for next in world.next(protocol)? {
            if known.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Ok(known.len())
}

#[test]
fn in_no_order_of_steps_is_an_answer_stale() {
    let worlds = search(Protocol::VersionFirst).unwrap();
    assert!(worlds > 100_000, "only {worlds} states were reached");
}

#[test]
fn the_search_finds_what_is_wrong_with_other_protocols() {
    for protocol in [
        Protocol::VersionLast,
        Protocol::VersionFromBefore,
        Protocol::DeleteAfterCommit,
        Protocol::DeleteTwice,
        Protocol::GenerationInCache,
    ] {
        assert!(search(protocol).is_err(), "{protocol:?}");
    }
}
