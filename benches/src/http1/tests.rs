use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::*;

const LIMIT: Duration = Duration::from_secs(2);

/// Returns the client's view of a server that answers anything with `bytes` and closes.
async fn answer_to(bytes: &'static [u8]) -> Result<Answer, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        stream.write_all(bytes).await.expect("write");
    });
    get_once(addr, "/", LIMIT).await
}

#[tokio::test]
async fn whole_answers() {
    let answer = answer_to(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    let answer = answer.expect("whole");
    assert_eq!(
        (answer.status, &answer.body[..], answer.close),
        (200, &b"hello"[..], false)
    );

    let chunked = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\nConnection: Close\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: v\r\n\r\n";
    let answer = answer_to(chunked).await.expect("whole");
    assert_eq!(
        (answer.status, &answer.body[..], answer.close),
        (503, &b"abcde"[..], true)
    );

    let answer = answer_to(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(answer.expect("whole").status, 204);
}

#[tokio::test]
async fn broken_answers() {
    let cut: [&[u8]; 5] = [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ];
    for bytes in cut {
        let result = answer_to(bytes).await;
        assert!(matches!(result, Err(Failure::Ended(_))), "{result:?}");
    }
    let malformed: [&[u8]; 5] = [
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
    ];
    for bytes in malformed {
        let result = answer_to(bytes).await;
        assert!(matches!(result, Err(Failure::Malformed(_))), "{result:?}");
    }
}
