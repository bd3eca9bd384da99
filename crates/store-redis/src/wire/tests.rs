use bytes::Bytes;
use futures::future::{FutureExt, join_all};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::resp::Reply;

fn text(text: &str) -> Reply {
    Reply::Text(Bytes::copy_from_slice(text.as_bytes()))
}

/// A server that answers each `ECHO` of a single digit with that many bytes of it.
async fn serve(stream: tokio::io::DuplexStream) -> io::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut request = [0; 21];
    while from.read_exact(&mut request).await.is_ok() {
        let digit = request[20 - 2] - b'0';
        let many = usize::from(digit) * 1_000;
        to.write_all(
            format!("${many}\r\n{}\r\n", char::from(digit + b'0').to_string().repeat(many)).as_bytes(),
        )
        .await?;
    }
    Ok(())
}

const LIMITS: Limits = Limits { rows: 100, bytes: 10_000 };

fn echo(digit: usize) -> Sent {
    Sent::Request(Request::of([&b"ECHO"[..], digit.to_string().as_bytes()]))
}

#[tokio::test]
async fn each_caller_gets_its_own_replies_though_others_give_up() {
    let (ours, theirs) = tokio::io::duplex(700);
    tokio::spawn(serve(theirs));
    let wire = Wire::new(Box::new(ours), LIMITS);
    let calls = (0..200).map(|call| {
        let (wire, digit) = (wire.clone(), call % 10);
        async move {
            let sent = wire.send(echo(digit));
            if call % 3 == 0 {
                assert!(sent.now_or_never().is_none());
                return;
            }
            let (mut replies, _) = sent.await.unwrap();
            assert_eq!(replies.next(), Some(text(&digit.to_string().repeat(digit * 1_000))));
            assert_eq!(replies.next(), None);
        }
    });
    join_all(calls).await;
}

fn row(key: &str) -> Sent {
    Sent::Row(key.to_owned(), Row::of_test(0, vec![b'x'; 10]))
}

/// What has come in up to this text.
async fn until(from: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        bytes.push(from.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn rows_that_come_while_one_is_under_way_share_a_command_though_one_of_them_is_given_up() {
    let (ours, mut theirs) = tokio::io::duplex(10_000);
    let wire = Wire::new(Box::new(ours), LIMITS);
    let server = async {
        let first = until(&mut theirs, "xx\r\n").await;
        assert!(first.contains("$1\r\na\r\n") && !first.contains("$1\r\nb\r\n"), "{first}");
        // Nothing else comes, as long as that has no answer and little time has passed.
        theirs.write_all(b":1\r\n").await.unwrap();
        let second = until(&mut theirs, &"$10\r\nxxxxxxxxxx\r\n".repeat(3)).await;
        assert!(second.contains("$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n"), "{second}");
        theirs.write_all(b"*3\r\n:1\r\n:2\r\n:3\r\n").await.unwrap();
    };
    let given_up = async { assert!(wire.send(row("c")).now_or_never().is_none()) };
    let (first, second, (), last, ()) =
        tokio::join!(wire.send(row("a")), wire.send(row("b")), given_up, wire.send(row("d")), server);
    assert_eq!(first.unwrap().1, Share::ALL);
    for (answer, at) in [(second, 0), (last, 2)] {
        let (mut replies, share) = answer.unwrap();
        assert_eq!(share, Share { at, of: 3 });
        assert_eq!(replies.next(), Some(Reply::Array([1, 2, 3].map(Reply::Int).to_vec())));
    }
}

#[tokio::test]
async fn rows_do_not_gather_for_long_while_an_answer_is_awaited() {
    let (ours, mut theirs) = tokio::io::duplex(10_000);
    let wire = Wire::new(Box::new(ours), LIMITS);
    let server = async {
        until(&mut theirs, "xx\r\n").await;
        until(&mut theirs, "xx\r\n").await;
        drop(theirs);
    };
    let (first, second, ()) = tokio::join!(wire.send(row("a")), wire.send(row("b")), server);
    assert!(first.is_err() && second.is_err());
}

#[tokio::test]
async fn who_waits_learns_that_the_connection_has_ended_and_so_does_who_comes_later() {
    let (ours, mut theirs) = tokio::io::duplex(700);
    let wire = Wire::new(Box::new(ours), LIMITS);
    let (first, second, ()) = tokio::join!(wire.send(echo(1)), wire.send(echo(2)), async {
        theirs.write_all(b"$1\r\nx\r\n$5\r\nhal").await.unwrap();
        theirs.shutdown().await.unwrap();
    });
    assert_eq!(first.unwrap().0.next(), Some(text("x")));
    assert_eq!(second.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(wire.send(echo(3)).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn what_nobody_has_asked_for_ends_the_connection() {
    let (ours, mut theirs) = tokio::io::duplex(700);
    let wire = Wire::new(Box::new(ours), LIMITS);
    theirs.write_all(b"+OK\r\n").await.unwrap();
    tokio::task::yield_now().await;
    let error = wire.send(echo(1)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_row_that_comes_later_while_one_is_under_way_does_not_gather_for_long_either() {
    let (ours, mut theirs) = tokio::io::duplex(10_000);
    let wire = Wire::new(Box::new(ours), LIMITS);
    let (arrived, arrives) = oneshot::channel();
    let server = async {
        until(&mut theirs, "xx\r\n").await;
        arrived.send(()).unwrap();
        until(&mut theirs, "xx\r\n").await;
        theirs.write_all(b":1\r\n:1\r\n").await.unwrap();
    };
    let second = async {
        arrives.await.unwrap();
        wire.send(row("b")).await
    };
    let (first, second, ()) = tokio::join!(wire.send(row("a")), second, server);
    assert!(first.is_ok() && second.is_ok());
}

#[tokio::test]
async fn what_a_stream_holds_back_is_flushed() {
    let (ours, theirs) = tokio::io::duplex(10_000);
    tokio::spawn(serve(theirs));
    let wire = Wire::new(Box::new(tokio::io::BufStream::new(ours)), LIMITS);
    for digit in [1, 2] {
        assert!(wire.send(echo(digit)).await.is_ok());
    }
}

#[tokio::test]
async fn the_last_of_its_clones_closes_a_connection() {
    let (ours, mut theirs) = tokio::io::duplex(700);
    let wire = Wire::new(Box::new(ours), LIMITS);
    let other = Wire::new(Box::new(tokio::io::duplex(700).0), LIMITS);
    let clone = wire.clone();
    assert!(clone.is_same(&wire) && !clone.is_same(&other));
    drop(wire);
    let (answer, ()) = tokio::join!(clone.send(echo(1)), async {
        until(&mut theirs, "1\r\n1\r\n").await;
        theirs.write_all(b"$1\r\n1\r\n").await.unwrap();
    });
    assert!(answer.is_ok());
    drop(clone);
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
}

#[test]
fn where_the_threads_that_served_a_connection_are_gone_it_has_ended() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (ours, _theirs) = tokio::io::duplex(700);
    let served = runtime();
    let wire = served.block_on(async { Wire::new(Box::new(ours), LIMITS) });
    drop(served);
    let error = runtime().block_on(wire.send(echo(1))).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
}
