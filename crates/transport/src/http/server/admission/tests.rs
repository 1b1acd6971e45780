//! Whose connections get a place, and whose goes first.

use std::sync::Arc;

use super::*;

const PEER: [u8; 4] = [192, 0, 2, 7];
const OTHER: [u8; 4] = [198, 51, 100, 9];
const PROXY: [u8; 4] = [10, 1, 2, 3];
const LOCAL: [u8; 4] = [127, 0, 0, 1];

fn connections(most: usize) -> Arc<Connections> {
    let trusted = vec!["10.0.0.0/8".parse().unwrap()];
    Connections::new(most, Proxies::from(trusted))
}

/// Takes a place that must be there.
async fn enter(connections: &Arc<Connections>, address: [u8; 4]) -> Place {
    let drain = CancellationToken::new();
    connections.admit(address.into(), &drain).await.unwrap()
}

async fn is_refused(connections: &Arc<Connections>, address: [u8; 4]) -> bool {
    let drain = CancellationToken::new();
    connections.admit(address.into(), &drain).await.is_none()
}

#[tokio::test]
async fn one_address_holds_half_of_the_places_until_it_authenticates() {
    let connections = connections(8);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(enter(&connections, PEER).await);
    }
    assert!(is_refused(&connections, PEER).await);
    assert!(!is_refused(&connections, OTHER).await);
    held[0].0.authenticated();
    held[0].0.authenticated();
    held.push(enter(&connections, PEER).await);
    assert!(
        is_refused(&connections, PEER).await,
        "one counts less, not two"
    );
    held.pop();
    held.push(enter(&connections, PEER).await);
    drop(held);
    assert!(connections.table().strangers.is_empty());
    assert!(connections.table().open.is_empty());
}

#[tokio::test]
async fn proxies_that_are_trusted_and_this_machine_are_not_counted() {
    for address in [PROXY, LOCAL] {
        let connections = connections(8);
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(enter(&connections, address).await);
        }
        assert!(connections.table().strangers.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_the_silent_go_first() {
    let connections = connections(4);
    let known = enter(&connections, LOCAL).await;
    known.0.authenticated();
    let asked = enter(&connections, LOCAL).await;
    drop(asked.0.running.begin());
    let busy = enter(&connections, LOCAL).await;
    let request = busy.0.running.begin();
    let headless = enter(&connections, LOCAL).await;
    let places = [known, asked, busy, headless];
    let closed = |places: &[Place]| -> Vec<bool> {
        places.iter().map(|place| place.0.is_closed()).collect()
    };
    let looks = |times: u32| {
        let connections = Arc::clone(&connections);
        async move {
            let drain = CancellationToken::new();
            let waits = connections.admit(OTHER.into(), &drain);
            let looked = AGAIN * times - AGAIN / 2;
            tokio::time::timeout(looked, waits).await.is_ok()
        }
    };
    assert!(!looks(1).await);
    assert_eq!(
        closed(&places),
        [false, false, false, true],
        "no head first"
    );
    assert!(!looks(1).await);
    assert_eq!(
        closed(&places),
        [false, true, false, true],
        "then no credential"
    );
    assert!(!looks(9).await);
    assert_eq!(
        closed(&places),
        [false, true, false, true],
        "and nobody else"
    );
    assert!(places[3].0.end.is_cancelled() && !places[0].0.end.is_cancelled());
    drop(request);
    drop(places);
    assert!(looks(1).await);
}
