//! Places of connections, over real sockets.

use super::*;

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let release = Arc::new(Notify::new());
    let entered = Arc::new(Notify::new());
    let (waiting, enters) = (Arc::clone(&release), Arc::clone(&entered));
    let service = service_fn(move |_: Request<Incoming>| {
        let waiting = Arc::clone(&waiting);
        enters.notify_one();
        async move {
            waiting.notified().await;
            Ok(Response::new(Body::full("done")))
        }
    });
    let settings = ListenerSettings {
        max_connections: 1,
        ..Default::default()
    };
    let server = start(settings, service).await;
    let mut first = server.connect().await;
    first.write_all(GET).await.unwrap();
    // Before its head is read it is as silent as any.
    soon(entered.notified()).await;
    let mut second = server.connect().await;
    second.write_all(GET).await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(250), second.read(&mut byte)).await;
    assert!(early.is_err(), "the first one is busy");
    release.notify_one();
    assert!(read_some(&mut first).await.contains("done"));
    // It is at rest now, and nobody knows whose it is: its place goes to who waits.
    assert_eq!(read_to_end(&mut first).await, "");
    release.notify_one();
    assert!(read_some(&mut second).await.contains("done"));
}

#[tokio::test]
async fn a_burst_of_connections_waits_in_the_queue_and_is_not_dropped() {
    // More than the 128 that `TcpListener::bind` asks for, as far as the kernel lets us.
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let burst = most.trim().parse::<usize>().unwrap().min(400);
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenerSettings::default())
        .await
        .unwrap();
    // Nobody accepts: a packet the kernel drops would be sent again and again.
    let mut open = Vec::new();
    for _ in 0..burst {
        open.push(soon(TcpStream::connect(listener.addr())).await.unwrap());
    }
    assert_eq!(open.len(), burst);
}
