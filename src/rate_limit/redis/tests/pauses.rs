//! The pauses between attempts to connect.

use super::*;

#[tokio::test]
async fn a_redis_that_hangs_up_is_tried_less_and_less_often() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limiter = limiter(&format!("redis://{}", listener.local_addr().unwrap()));
    let begin = Instant::now();
    let attempts = async {
        for _ in 0..5 {
            drop(listener.accept().await.unwrap());
        }
    };
    let (decision, came) = tokio::join!(
        ask(&limiter, "x", Quota::per_second(1)),
        tokio::time::timeout(LIMIT, attempts)
    );
    assert!(decision.is_none() && came.is_ok());
    // Each pause lasts from half of 100, 200, 400 and 800 ms to all of it.
    assert!(begin.elapsed() >= ms(750), "{:?}", begin.elapsed());
}
