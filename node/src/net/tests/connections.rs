//! Connections come, go and come back; who does not belong is kept out, and both ends know why.

use quorate_consensus::Target;
use quorate_types::ValidatorIndex;

use super::{Node, V0, V1, chain, config, key, pair, peer, socket, vote, within};
use crate::net::{By, Limits, NetConfig, NetError, NetEvent, Peer, PerScope, Reason};
use quorate_crypto::SecretKey;

fn stranger() -> SecretKey {
    SecretKey::from_seed(&[99; 32])
}

/// Validators 0 and 1; `change` may spoil either's configuration.
fn two(change: impl Fn(&mut NetConfig)) -> (Node, Node) {
    let ((s0, a0), (s1, a1)) = (socket(), socket());
    let mut first = config(V0, s0, vec![peer(V1, a1)]);
    let mut second = config(V1, s1, vec![peer(V0, a0)]);
    change(&mut first);
    change(&mut second);
    (Node::start(first), Node::start(second))
}

#[tokio::test]
async fn a_stranger_that_dials_is_refused() {
    let (mut dialer, mut acceptor) = two(|config| {
        if config.me == V0 {
            config.key = stranger();
        }
    });
    let refused = acceptor.rejected().await;
    assert_eq!(refused, (None, Reason::Stranger, By::Us));
    let told = dialer.rejected().await;
    assert_eq!(told, (Some(V1), Reason::Stranger, By::Peer));
}

#[tokio::test]
async fn a_stranger_that_is_dialed_is_refused() {
    let (mut dialer, mut acceptor) = two(|config| {
        if config.me == V1 {
            config.key = stranger();
        }
    });
    let refused = dialer.rejected().await;
    assert_eq!(refused, (Some(V1), Reason::Stranger, By::Us));
    let told = acceptor.rejected().await;
    assert_eq!(told, (None, Reason::Stranger, By::Peer));
}

/// A member at another member's address is no substitute for it.
#[tokio::test]
async fn the_wrong_member_is_refused() {
    let ((s0, a0), (s2, a2)) = (socket(), socket());
    let v2 = ValidatorIndex(2);
    let mut dialer = Node::start(config(V0, s0, vec![peer(V1, a2)]));
    let _other = Node::start(config(v2, s2, vec![peer(V0, a0)]));
    let refused = dialer.rejected().await;
    assert_eq!(refused, (Some(V1), Reason::Stranger, By::Us));
}

#[tokio::test]
async fn another_chain_is_refused_and_both_know() {
    let (mut dialer, mut acceptor) = two(|config| {
        if config.me == V0 {
            config.chain = chain("elsewhere");
        }
    });
    let refused = acceptor.rejected().await;
    assert_eq!(refused, (Some(V0), Reason::WrongChain, By::Us));
    let told = dialer.rejected().await;
    assert_eq!(told, (Some(V1), Reason::WrongChain, By::Peer));
    assert!(!acceptor.network.stats()[0].connected && !dialer.network.stats()[0].connected);
}

#[tokio::test]
async fn a_restarted_acceptor_is_dialed_again() {
    let ((s0, a0), (s1, a1)) = (socket(), socket());
    let again = s1.try_clone().unwrap();
    let mut a = Node::start(config(V0, s0, vec![peer(V1, a1)]));
    let b = Node::start(config(V1, s1, vec![peer(V0, a0)]));
    a.connected(V1).await;
    b.network.shutdown().await;
    assert_eq!(a.disconnected(V1).await, (Reason::Shutdown, By::Peer));
    let mut b = Node::start(config(V1, again, vec![peer(V0, a0)]));
    a.connected(V1).await;
    a.network.send(Target::All, &vote(1));
    b.find(|event| matches!(event, NetEvent::Message { .. }).then_some(()))
        .await;
}

/// Stops without a word: first its runtime goes, so that nothing can be sent any more, as if the process were killed.
async fn kill(runtime: tokio::runtime::Runtime, node: Node) {
    tokio::task::spawn_blocking(move || drop(runtime))
        .await
        .unwrap();
    drop(node);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// Its new life answers the old connection's packets with resets, long before the idle timeout.
#[tokio::test]
async fn a_killed_acceptor_is_noticed_when_it_is_back() {
    let ((s0, a0), (s1, a1)) = (socket(), socket());
    let again = s1.try_clone().unwrap();
    let mut a = Node::start(config(V0, s0, vec![peer(V1, a1)]));
    let first_life = runtime();
    let b = {
        let _in_its_runtime = first_life.enter();
        Node::start(config(V1, s1, vec![peer(V0, a0)]))
    };
    a.connected(V1).await;
    kill(first_life, b).await;
    let _b = Node::start(config(V1, again, vec![peer(V0, a0)]));
    assert_eq!(a.disconnected(V1).await, (Reason::Reset, By::Peer));
    a.connected(V1).await;
}

/// Its new connection takes the place of the old one.
#[tokio::test]
async fn a_killed_dialer_replaces_itself() {
    let ((s0, a0), (s1, a1)) = (socket(), socket());
    let again = s0.try_clone().unwrap();
    let mut b = Node::start(config(V1, s1, vec![peer(V0, a0)]));
    let first_life = runtime();
    let a = {
        let _in_its_runtime = first_life.enter();
        Node::start(config(V0, s0, vec![peer(V1, a1)]))
    };
    b.connected(V0).await;
    kill(first_life, a).await;
    let mut a = Node::start(config(V0, again, vec![peer(V1, a1)]));
    a.connected(V1).await;
    let (reason, _) = b.disconnected(V0).await;
    // Whichever comes first: the new hello, or the reset that answers a probe of the old connection.
    assert!(
        matches!(reason, Reason::Replaced | Reason::Reset),
        "{reason:?}"
    );
    b.connected(V0).await;
}

/// Under load everybody has to prove its address first; members get in all the same.
#[tokio::test]
async fn addresses_are_validated_under_load() {
    let always = PerScope {
        total: 0,
        per_address: 0,
    };
    let (a, _b) = pair(&Limits {
        retry_above: always,
        ..super::limits()
    })
    .await;
    assert!(a.network.stats()[0].connected);
}

#[tokio::test]
async fn who_leaves_the_set_is_out_and_may_come_back() {
    let (mut a, mut b) = pair(&super::limits()).await;
    let address = |node: &Node| node.network.local_address().unwrap();
    let (at_a, at_b) = (address(&a), address(&b));
    a.network.set_peers(Vec::new()).unwrap();
    assert_eq!(a.disconnected(V1).await, (Reason::Removed, By::Us));
    assert_eq!(b.disconnected(V0).await, (Reason::Removed, By::Peer));
    assert!(a.network.stats().is_empty());
    a.network.set_peers(vec![peer(V1, at_b)]).unwrap();
    a.connected(V1).await;
    b.connected(V0).await;
    // The other way round it is refused in its next handshake.
    b.network.set_peers(Vec::new()).unwrap();
    assert_eq!(a.disconnected(V1).await, (Reason::Removed, By::Peer));
    assert_eq!(b.rejected().await, (None, Reason::Stranger, By::Us));
    b.network.set_peers(vec![peer(V0, at_a)]).unwrap();
    b.connected(V0).await;
}

#[tokio::test]
async fn a_set_names_everybody_once() {
    let (socket, address) = socket();
    let node = Node::start(config(V0, socket, Vec::new()));
    let v2 = ValidatorIndex(2);
    let same_key = Peer {
        network_key: key(V1).public(),
        ..peer(v2, address)
    };
    for (peers, culprit) in [
        (vec![peer(V0, address)], V0),
        (vec![peer(V1, address), peer(V1, address)], V1),
        (vec![peer(V1, address), same_key], v2),
    ] {
        let result = node.network.set_peers(peers);
        assert!(matches!(result, Err(NetError::Repeated(v)) if v == culprit));
    }
    within("the end", node.network.shutdown()).await;
}
