//! Mails, as servers and folders get them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stockroom::config::Settings;
use stockroom::infra::mail::{Mail, MailError, Mailer};
use stockroom::infra::metrics::Metrics;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::support::servers::{free_port, scratch};
use crate::support::{TestServer, eventually};

/// What a server was told, a list of lines for each connection.
type Heard = Arc<Mutex<Vec<Vec<String>>>>;

/// An SMTP server; `refusal` is its answer to a recipient on a connection, counted from 0, if it does not take them.
async fn smtp_server(refusal: fn(usize) -> Option<&'static str>) -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, heard) = (listener.local_addr().unwrap().port(), Heard::default());
    let all = Arc::clone(&heard);
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            all.lock().unwrap().push(Vec::new());
            let all = Arc::clone(&all);
            tokio::spawn(async move {
                let hear = |line: &str| all.lock().unwrap()[number].push(line.to_owned());
                converse(stream, refusal(number), hear).await
            });
        }
    });
    (port, heard)
}

/// Speaks SMTP until the other side has enough.
async fn converse(stream: TcpStream, refusal: Option<&str>, hear: impl Fn(&str)) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 test\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        hear(&line);
        let answer = match line.split(' ').next().unwrap_or_default() {
            "EHLO" => "250-test\r\n250-SMTPUTF8\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "AUTH" => "235 welcome",
            "RCPT" => refusal.unwrap_or("250 known"),
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    hear(&line);
                }
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// All that was heard so far.
fn said(heard: &Heard) -> Vec<Vec<String>> {
    heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn mailer(flags: &[&str], outbox: Option<PathBuf>) -> (Mailer, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let mailer = Mailer::new(&Settings::from_flags(flags).unwrap(), outbox, Arc::clone(&metrics));
    (mailer.unwrap(), metrics)
}

fn outcomes(metrics: &Metrics, outcome: &'static str) -> u64 {
    metrics.mails.get_or_create(&[("outcome", outcome)]).get()
}

fn mail(to: &str) -> Mail {
    Mail { to: to.to_owned(), subject: "Reset your password".to_owned(), text: "Hello\n.\n".to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_gets_each_mail_once_from_who_may_send_it() {
    let (port, heard) = smtp_server(|_| None).await;
    let url = format!("smtp://shop%40example.com:p%3Ass%20word@127.0.0.1:{port}");
    let (mailer, metrics) = mailer(&["--smtp-url", &url, "--mail-from", "Möbel <shop@example.com>"], None);
    let text = "Grüße\n\n.\nhttps://shop.example/?a=b\n".to_owned();
    let umlauts = Mail { to: "ada@bücher.example".to_owned(), subject: "Für Sie".to_owned(), text };
    assert_eq!(mailer.send(umlauts), Ok(()));
    assert_eq!(mailer.send(mail("zoë@example.com")), Ok(()));
    mailer.finish(Instant::now() + Duration::from_secs(10)).await;
    assert_eq!(outcomes(&metrics, "sent"), 2);

    let connections = said(&heard);
    assert_eq!(connections.len(), 2);
    let [first, second] = &connections[..] else { unreachable!() };
    let auth = STANDARD.encode("\0shop@example.com\0p:ss word");
    for line in [
        &format!("AUTH PLAIN {auth}"),
        "MAIL FROM:<shop@example.com>",
        "RCPT TO:<ada@xn--bcher-kva.example>",
        "To: ada@xn--bcher-kva.example",
        "Content-Type: text/plain; charset=utf-8",
        "Auto-Submitted: auto-generated",
        "Gr=C3=BC=C3=9Fe",
        // A dot alone ends a mail, so it is doubled on the way.
        "..",
        "https://shop.example/?a=3Db",
    ] {
        assert!(first.iter().any(|heard| heard == line), "{line} of {first:#?}");
    }
    let header = |name: &str| first.iter().find(|line| line.starts_with(name)).cloned().unwrap();
    assert!(header("From: ").starts_with("From: =?utf-8?"), "{first:#?}");
    assert!(header("Subject: ").starts_with("Subject: =?utf-8?"), "{first:#?}");
    assert!(header("Message-ID: ").ends_with("@example.com>"), "{first:#?}");
    assert!(second.iter().any(|line| line.starts_with("RCPT TO:<zoë@example.com>")), "{second:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_for_now_is_tried_again_and_keeps_no_other_waiting() {
    let (port, heard) = smtp_server(|connection| (connection == 0).then_some("451 later")).await;
    let (mailer, metrics) = mailer(&["--smtp-url", &format!("smtp://127.0.0.1:{port}")], None);
    mailer.send(mail("first@example.com")).unwrap();
    mailer.send(mail("second@example.com")).unwrap();
    eventually("both are sent", async || outcomes(&metrics, "sent") == 2).await;
    assert_eq!(outcomes(&metrics, "failed"), 0);
    let recipients: Vec<String> = said(&heard).concat().into_iter().filter(|line| line.starts_with("RCPT")).collect();
    let [first, second] = ["first", "second"].map(|name| format!("RCPT TO:<{name}@example.com>"));
    assert_eq!(recipients, [first.clone(), second, first]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_for_good_is_not_tried_again() {
    let (port, heard) = smtp_server(|_| Some("550 no such person")).await;
    let (mailer, metrics) = mailer(&["--smtp-url", &format!("smtp://127.0.0.1:{port}")], None);
    mailer.send(mail("nobody@example.com")).unwrap();
    eventually("it has failed", async || outcomes(&metrics, "failed") == 1).await;
    assert_eq!(said(&heard).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_what_waits_has_its_tries_without_the_pauses() {
    let (port, heard) = smtp_server(|_| Some("451 later")).await;
    let (mailer, metrics) = mailer(&["--smtp-url", &format!("smtp://127.0.0.1:{port}")], None);
    mailer.send(mail("first@example.com")).unwrap();
    eventually("it is tried", async || !said(&heard).is_empty()).await;
    // The pauses alone would take longer.
    tokio::time::timeout(Duration::from_secs(20), mailer.finish(Instant::now() + Duration::from_mins(1)))
        .await
        .expect("the end does not wait for pauses");
    assert_eq!((said(&heard).len(), outcomes(&metrics, "failed")), (4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_fills_the_queue_and_delays_the_end_no_longer_than_it_may() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://127.0.0.1:{}", silent.local_addr().unwrap().port());
    let (mailer, metrics) = mailer(&["--smtp-url", &url], None);
    for _ in 0..1_000 {
        assert_eq!(mailer.send(mail("ada@example.com")), Ok(()));
    }
    assert_eq!(mailer.send(mail("ada@example.com")), Err(MailError::Busy));
    assert_eq!(outcomes(&metrics, "refused"), 1);
    tokio::time::timeout(Duration::from_secs(10), mailer.finish(Instant::now() + Duration::from_millis(50)))
        .await
        .expect("the end keeps to its time");
    assert_eq!(outcomes(&metrics, "sent"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_a_server_that_should_have_it_learns_nothing() {
    let (port, heard) = smtp_server(|_| None).await;
    let url = format!("smtp://user:secret@127.0.0.1:{port}?tls=required");
    let (mailer, metrics) = mailer(&["--smtp-url", &url], None);
    mailer.send(mail("ada@example.com")).unwrap();
    eventually("it has failed", async || outcomes(&metrics, "failed") == 1).await;
    for line in said(&heard).concat() {
        assert!(line.starts_with("EHLO") || line == "QUIT", "{line}");
    }
}

#[tokio::test]
async fn an_address_of_a_server_is_refused_when_it_is_not_safe_or_not_clear() {
    for (url, says) in [
        ("mail.example", "smtps://user:password@host"),
        ("http://mail.example", "smtps://user:password@host"),
        ("smtp://", "smtps://user:password@host"),
        ("smtps://mail.example/path", "smtps://user:password@host"),
        ("smtp://mail.example?tls=opportunistic", "tls=required"),
        ("smtps://mail.example?tls=none", "tls=required"),
        ("smtp://mail.example?tls=none&x=y", "tls=required"),
        ("smtp://user:secret@mail.example?tls=none", "plaintext"),
        ("smtp://user@mail.example", "both user and password"),
    ] {
        let settings = Settings::from_flags(&["--smtp-url", url]).unwrap();
        let refused = Mailer::new(&settings, None, Arc::default()).err().map(|error| error.to_string());
        let refused = refused.unwrap_or_else(|| panic!("{url} is taken"));
        assert!(refused.contains(says) && !refused.contains("secret"), "{url}: {refused}");
    }
    for (url, place) in [
        ("smtps://user:secret@mail.example", "mail.example:465, with TLS"),
        ("smtp://user:secret@mail.example", "mail.example:587, with STARTTLS"),
        ("smtp://user:secret@mail.example:2525?tls=required", "mail.example:2525, with STARTTLS"),
        ("smtp://mail.example?tls=none", "mail.example:25, in plaintext"),
        ("smtp://user:secret@localhost:1025", "localhost:1025, in plaintext"),
        ("smtp://[::1]:1025", "::1:1025, in plaintext"),
        ("smtp://user:secret@localhost?tls=required", "localhost:587, with STARTTLS"),
    ] {
        assert_eq!(mailer(&["--smtp-url", url], None).0.route.to_string(), format!("sent through {place}"));
    }
    for (flag, text) in [
        ("--mail-from", "nobody"),
        ("--mail-from", "a@b.example\r\nBcc: c@d.example"),
        ("--public-url", "shop.example"),
        ("--public-url", "https://shop.example/?a=b"),
        ("--public-url", "javascript:alert(1)"),
    ] {
        assert!(Settings::from_flags(&[flag, text]).is_err(), "{flag} {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_subject_or_text_adds_a_header_or_a_command() {
    let (port, heard) = smtp_server(|_| None).await;
    let (mailer, _) = mailer(&["--smtp-url", &format!("smtp://127.0.0.1:{port}")], None);
    for to in [
        "",
        "nobody",
        "a@b.example\r\nBcc: c@d.example",
        "a@b.example\nRCPT TO:<c@d.example>",
        "a\r\n@b.example",
        "a@b.example>\r\nDATA",
        "a@b.example, c@d.example",
        "a@b.example> BODY=8BITMIME <c@d.example",
        "a b@c.example",
    ] {
        assert_eq!(mailer.send(mail(to)), Err(MailError::Unfit("address")), "{to}");
    }
    for subject in ["Hello\r\nBcc: c@d.example", "Hello\nX: y", "Hello\r", "Hello\0"] {
        let subject = subject.to_owned();
        assert_eq!(mailer.send(Mail { subject, ..mail("a@b.example") }), Err(MailError::Unfit("subject")));
    }
    for text in ["Hello\r.\r\nMAIL FROM:<c@d.example>", "Hello\0"] {
        let text = text.to_owned();
        assert_eq!(mailer.send(Mail { text, ..mail("a@b.example") }), Err(MailError::Unfit("text")));
    }
    mailer.finish(Instant::now() + Duration::from_secs(10)).await;
    assert_eq!(said(&heard), Vec::<Vec<String>>::new());
}

/// The files of an outbox, in the order of their names.
fn outbox(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_keeps_mails_in_order_with_their_links_whole_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = scratch("mails").join("outbox");
    let (mailer, metrics) = mailer(&["--public-url", "https://shop.example/en/"], Some(folder.clone()));
    assert!(!folder.exists(), "made only when it is needed");
    let token = "a-token_of-the-usual-length-which-is-about-forty-three-bytes".repeat(2);
    let link = mailer.link("reset-password", &token);
    assert_eq!(link, format!("https://shop.example/en/reset-password?token={token}"));
    for subject in ["Reset your password", "../Für Sie: 100 %"] {
        let text = format!("Hello,\n\n{link}\n");
        mailer.send(Mail { to: "ada@example.com".to_owned(), subject: subject.to_owned(), text }).unwrap();
    }
    mailer.finish(Instant::now() + Duration::from_secs(10)).await;
    assert_eq!(outcomes(&metrics, "sent"), 2);

    let files = outbox(&folder);
    let names: Vec<String> = files.iter().map(|file| file.file_name().unwrap().display().to_string()).collect();
    assert!(names.len() == 2 && names.iter().all(|name| name.starts_with("20")), "{names:?}");
    assert!(names[0].ends_with("-reset-your-password.eml") && names[1].ends_with("-f-r-sie-100.eml"), "{names:?}");
    for file in &files {
        let mail = std::fs::read_to_string(file).unwrap();
        assert!(
            mail.contains("To: ada@example.com\r\n") && mail.contains(&format!("\r\n\r\nHello,\r\n\r\n{link}\r\n"))
        );
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_counts_its_mails() {
    let server = TestServer::start_with(&[]).await;
    server.core.infra.mailer.send(mail("ada@example.com")).unwrap();
    let mails = server.mails(1).await;
    assert!(mails[0].contains("To: ada@example.com\r\n"), "{mails:?}");
    let url = format!("http://{}/metrics", server.address);
    eventually("it is counted", async || {
        let figures = reqwest::get(&url).await.unwrap().text().await.unwrap();
        figures.contains("stockroom_mails_total{outcome=\"sent\"} 1\n")
            && figures.contains("stockroom_password_hashes_running 0\n")
    })
    .await;
}

#[tokio::test]
async fn without_a_server_and_an_outbox_a_mail_is_not_taken() {
    let (mailer, _) = mailer(&[], None);
    assert_eq!(mailer.send(mail("ada@example.com")), Err(MailError::NotConfigured));
    assert_eq!(mailer.route.to_string(), "not sent; set SMTP_URL to send it");
    assert_eq!(mailer.link("verify-email", "a b"), "http://127.0.0.1:8000/verify-email?token=a+b");
    // Nobody answers there.
    let url = format!("smtp://127.0.0.1:{}", free_port());
    let (mailer, _) = self::mailer(&["--smtp-url", &url], None);
    let told = mailer.route.test().await.unwrap_err().to_string();
    assert!(told.contains("cannot be used"), "{told}");
}
