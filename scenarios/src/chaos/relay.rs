//! A UDP relay for every directed link between validators: it delays, loses, repeats, reorders and cuts.
//!
//! A relay takes a validator's address, behind which the validator listens elsewhere. What arrives there tells by its
//! source who sent it, and goes on from a socket that stands for that peer, so that the answer finds its way back.
//! QUIC sees a network that is bad in these ways and in no other: no byte is changed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::draw::Draw;
use crate::cluster::Cluster;

/// How a directed link treats datagrams. The default is a good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Nothing gets through.
    pub cut: bool,
    /// Lost, in a thousand.
    pub loss: u64,
    /// Delivered twice, in a thousand.
    pub twice: u64,
    /// At least this late, in milliseconds.
    pub delay_ms: u64,
    /// And up to this much later, at random, which reorders.
    pub jitter_ms: u64,
    /// Megabits a second, 0 for as many as there are. What would wait for longer than 50 ms is lost.
    pub mbit: u64,
}

/// How long datagrams wait where a link has a bandwidth: the buffer of a router.
const QUEUE: Duration = Duration::from_millis(50);

/// What the relays did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams passed on.
    pub passed: u64,
    /// Lost, or on a link that was cut.
    pub lost: u64,
    /// Passed on late.
    pub late: u64,
    /// Passed on twice.
    pub twice: u64,
}

/// A datagram under way.
#[derive(Debug)]
struct Late {
    due: Instant,
    number: u64,
    from: Arc<UdpSocket>,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl PartialEq for Late {
    fn eq(&self, other: &Late) -> bool {
        self.number == other.number
    }
}
impl Eq for Late {}
impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Late) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Late {
    fn cmp(&self, other: &Late) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// A directed link, and what it did so far.
#[derive(Debug)]
struct Wire {
    link: Link,
    draw: Draw,
    /// When the last datagram has left its queue.
    free: Instant,
}

impl Wire {
    /// How much later each copy of a datagram of so many bytes arrives that is sent now; none if it is lost.
    fn fates(&mut self, now: Instant, bytes: usize) -> Vec<Duration> {
        let Wire { link, draw, .. } = self;
        if link.cut || draw.below(1000) < link.loss {
            return Vec::new();
        }
        let begins = self.free.max(now);
        if link.mbit > 0 && begins.duration_since(now) > QUEUE {
            return Vec::new();
        }
        let bits = 8 * u64::try_from(bytes).expect("small");
        let takes = (1_000 * bits).checked_div(link.mbit).unwrap_or_default();
        self.free = begins + Duration::from_nanos(takes);
        let waits = match link.mbit {
            0 => Duration::ZERO,
            _ => self.free.duration_since(now),
        };
        let copies = if draw.below(1000) < link.twice { 2 } else { 1 };
        let late = (0..copies).map(|_| link.delay_ms + draw.below(link.jitter_ms + 1));
        late.map(|late| waits + Duration::from_millis(late))
            .collect()
    }
}

#[derive(Debug)]
struct Shared {
    /// `links[from][to]`.
    links: Vec<Vec<Mutex<Wire>>>,
    queue: Mutex<BinaryHeap<Reverse<Late>>>,
    arrived: Condvar,
    traffic: Mutex<Traffic>,
    over: AtomicBool,
}

/// The relays of a cluster; they end when this is dropped.
#[derive(Debug)]
pub struct Relays {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a thread looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);
/// More than any datagram on loopback.
const DATAGRAM: usize = 65_536;

impl Relays {
    /// Takes the addresses `public`, and passes on to and from `behind`. What is random comes from the seed.
    ///
    /// # Panics
    /// If a port is taken.
    #[must_use]
    pub fn start(public: &[SocketAddr], behind: &[SocketAddr], seed: u64) -> Relays {
        let n = public.len();
        let link = |from: usize, to: usize| {
            let number = u64::try_from(from * n + to).expect("small");
            Mutex::new(Wire {
                link: Link::default(),
                draw: Draw::new(seed ^ number.rotate_right(16)),
                free: Instant::now(),
            })
        };
        let shared = Arc::new(Shared {
            links: (0..n)
                .map(|from| (0..n).map(|to| link(from, to)).collect())
                .collect(),
            queue: Mutex::new(BinaryHeap::new()),
            arrived: Condvar::new(),
            traffic: Mutex::new(Traffic::default()),
            over: AtomicBool::new(false),
        });
        let mut threads = Vec::new();
        let late = Arc::clone(&shared);
        threads.push(std::thread::spawn(move || late.deliver()));
        for (to, address) in public.iter().enumerate() {
            let front = open(*address);
            let mut backs = Vec::new();
            for from in 0..n {
                // From where it listens for others, it reaches whom it stands in front of.
                let back = open((address.ip(), 0).into());
                // Answers, on the way back to whom that socket stands for.
                let (shared, back_in, out) =
                    (Arc::clone(&shared), Arc::clone(&back), Arc::clone(&front));
                let (here, there) = (behind[to], behind[from]);
                threads.push(std::thread::spawn(move || {
                    shared.relay(&back_in, |source| {
                        (source == here).then(|| (to, from, Arc::clone(&out), there))
                    });
                }));
                backs.push(back);
            }
            let (shared, senders) = (Arc::clone(&shared), behind.to_vec());
            let target = behind[to];
            threads.push(std::thread::spawn(move || {
                shared.relay(&front, |source| {
                    let from = senders.iter().position(|sender| *sender == source)?;
                    Some((from, to, Arc::clone(&backs[from]), target))
                });
            }));
        }
        Relays { shared, threads }
    }

    /// Between all validators of a cluster that was made with [`crate::cluster::Options::chaos`].
    #[must_use]
    pub fn of(cluster: &Cluster, seed: u64) -> Relays {
        let all = 0..cluster.size();
        let public: Vec<_> = all.clone().map(|i| cluster.peer_address(i)).collect();
        let behind: Vec<_> = all.map(|i| cluster.behind_relay(i)).collect();
        Relays::start(&public, &behind, seed)
    }

    /// Changes a directed link.
    pub fn set(&self, from: usize, to: usize, link: Link) {
        locked(&self.shared.links[from][to]).link = link;
    }

    /// Changes all links.
    pub fn set_all(&self, link: Link) {
        self.pairs().for_each(|(from, to)| self.set(from, to, link));
    }

    /// Nothing passes between these and the others any more.
    pub fn part(&self, side: &[usize]) {
        let cut = Link {
            cut: true,
            ..Link::default()
        };
        let apart = |(from, to): &(usize, usize)| side.contains(from) != side.contains(to);
        let across = self.pairs().filter(apart);
        across.for_each(|(from, to)| self.set(from, to, cut));
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let n = self.shared.links.len();
        let pairs = (0..n).flat_map(move |from| (0..n).map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to)
    }

    /// What they did so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        *locked(&self.shared.traffic)
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.shared.arrived.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn open(address: SocketAddr) -> Arc<UdpSocket> {
    let socket = UdpSocket::bind(address).expect("a free port");
    socket.set_read_timeout(Some(LOOK)).expect("a socket");
    Arc::new(socket)
}

impl Shared {
    /// Passes on what arrives at a socket; `route` tells from whom, to whom, and from where to which address.
    fn relay(
        &self,
        socket: &UdpSocket,
        route: impl Fn(SocketAddr) -> Option<(usize, usize, Arc<UdpSocket>, SocketAddr)>,
    ) {
        let mut buffer = vec![0; DATAGRAM];
        while !self.over.load(Ordering::Relaxed) {
            // An error is the kernel's word that an earlier datagram found nobody.
            let Ok((length, source)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            if let Some((from, to, out, address)) = route(source) {
                self.pass(from, to, &out, address, &buffer[..length]);
            }
        }
    }

    fn pass(
        &self,
        from: usize,
        to: usize,
        out: &Arc<UdpSocket>,
        address: SocketAddr,
        bytes: &[u8],
    ) {
        let now = Instant::now();
        let fates = locked(&self.links[from][to]).fates(now, bytes.len());
        {
            let mut traffic = locked(&self.traffic);
            traffic.lost += u64::from(fates.is_empty());
            traffic.passed += u64::from(!fates.is_empty());
            traffic.twice += u64::from(fates.len() > 1);
            traffic.late += u64::from(fates.iter().any(|late| !late.is_zero()));
        }
        for late in fates {
            if late.is_zero() {
                let _ = out.send_to(bytes, address);
                continue;
            }
            let mut queue = locked(&self.queue);
            let number = u64::try_from(queue.len()).expect("small");
            queue.push(Reverse(Late {
                due: now + late,
                number,
                from: Arc::clone(out),
                to: address,
                bytes: bytes.to_vec(),
            }));
            self.arrived.notify_one();
        }
    }

    fn deliver(&self) {
        let mut queue = locked(&self.queue);
        while !self.over.load(Ordering::Relaxed) {
            let now = Instant::now();
            let wait = match queue.peek() {
                Some(Reverse(first)) if first.due <= now => {
                    let Reverse(first) = queue.pop().expect("just seen");
                    drop(queue);
                    let sent: io::Result<usize> = first.from.send_to(&first.bytes, first.to);
                    drop(sent); // like any network, it does not tell
                    queue = locked(&self.queue);
                    continue;
                }
                Some(Reverse(first)) => first.due.duration_since(now).min(LOOK),
                None => LOOK,
            };
            let waited = self.arrived.wait_timeout(queue, wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn local() -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a socket");
        socket
    }

    fn address(socket: &UdpSocket) -> SocketAddr {
        socket.local_addr().expect("bound")
    }

    fn heard(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; 64];
        let (length, from) = socket.recv_from(&mut buffer).ok()?;
        Some((buffer[..length].to_vec(), from))
    }

    #[test]
    fn a_link_with_a_bandwidth_makes_datagrams_wait_for_each_other_and_drops_what_would_wait_too_long()
     {
        let now = Instant::now();
        let mut wire = Wire {
            link: Link {
                delay_ms: 5,
                mbit: 1,
                ..Link::default()
            },
            draw: Draw::new(1),
            free: now,
        };
        let ms = Duration::from_millis;
        // 1,250 bytes take 10 ms of it.
        let mut sent = || wire.fates(now, 1_250);
        assert_eq!((sent(), sent()), (vec![ms(15)], vec![ms(25)]));
        let later: Vec<_> = (0..8).map(|_| sent().len()).collect();
        assert_eq!(later, [1, 1, 1, 1, 0, 0, 0, 0]);
        // Its queue is empty again.
        assert_eq!(wire.fates(now + ms(60), 1_250), [ms(15)]);
    }

    #[test]
    fn what_is_sent_arrives_and_the_answer_finds_back_unless_a_direction_is_cut() {
        let (a, b) = (local(), local());
        // Free again, for the relays to take.
        let public = [address(&local()), address(&local())];
        let relays = Relays::start(&public, &[address(&a), address(&b)], 1);
        a.send_to(b"to b", public[1]).expect("sent");
        let (bytes, from) = heard(&b).expect("it arrives");
        assert_eq!(bytes, b"to b");
        b.send_to(b"back", from).expect("sent");
        let (bytes, from) = heard(&a).expect("the answer arrives");
        assert_eq!((&bytes[..], from), (&b"back"[..], public[1]));
        let cut = Link {
            cut: true,
            ..Link::default()
        };
        relays.set(0, 1, cut);
        a.send_to(b"lost", public[1]).expect("sent");
        assert_eq!(heard(&b), None);
        b.send_to(b"one way", public[0]).expect("sent");
        assert_eq!(heard(&a).expect("the other direction").0, b"one way");
        relays.set(
            0,
            1,
            Link {
                delay_ms: 20,
                twice: 1000,
                ..Link::default()
            },
        );
        a.send_to(b"late", public[1]).expect("sent");
        assert_eq!(heard(&b).expect("late").0, b"late");
        assert_eq!(heard(&b).expect("twice").0, b"late");
        let traffic = relays.traffic();
        assert_eq!((traffic.passed, traffic.lost), (4, 1));
        assert_eq!((traffic.late, traffic.twice), (1, 1));
    }
}
