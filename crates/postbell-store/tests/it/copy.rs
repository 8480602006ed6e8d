//! A store is copied from one engine to the other.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    AccessToken, Actor, AlertRecipient, AuditedPorts, DeadLetterReason, Failure, GoogleConnection,
    HistoryId, InstanceStatus, LinkDigest, MachineLocation, ManagedMachine, NewAlert, NewUser,
    Notification, PendingRevocation, Principal, RelayId, RevocationId, Settlement, StoredTarget,
    Timestamp, TokenDigest, TokenScope, UserId,
};
use postbell_store::{CopiedTable, CopyError, OpenError, ReplacedTexts, Store, StoreOptions, copy};

use crate::engines::{Engine, keys, on_each_engine};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

on_each_engine! {
    a_store_that_is_used_is_not_copied
    a_target_with_data_is_refused
    a_copy_that_is_complete_may_be_repeated
    a_store_is_not_copied_to_itself
}

pub(crate) fn user(number: u64) -> UserId {
    format!("user-{number}").parse().unwrap()
}

pub(crate) fn notification(number: u64, history_id: u64) -> Notification {
    Notification {
        trace: format!("00-{history_id:032x}-{history_id:016x}-01")
            .parse()
            .ok(),
        user: user(number),
        address: Some(format!("u{number}@gmail.com").parse().unwrap()),
        message_id: format!("m{history_id}").parse().unwrap(),
        published_at: Some(NOW),
        history_id: HistoryId::new(history_id),
        body: Bytes::from(vec![b'{'; 100]),
    }
}

/// Writes something into every table.
pub(crate) async fn fill(store: &Store, users: u64) {
    let (records, alerts) = (store.users(), store.alert_targets());
    for number in 0..users {
        let managed = MachineLocation::Managed(ManagedMachine {
            app: "bot".to_owned(),
            machine: number.to_string(),
        });
        let new = NewUser {
            user: user(number),
            sandbox_id: format!("sandbox-{number}").parse().unwrap(),
            status: InstanceStatus::Running,
            location: managed,
            wake_on_mail: number % 2 == 0,
        };
        let mut record = records.add(new, NOW).await.unwrap();
        record.connect(GoogleConnection {
            email: Some(format!("U.{number}@gmail.com").parse().unwrap()),
            push_account: None,
            connected_at: NOW,
        });
        let secret = format!("secret {number}").into();
        records.replace(&record, Some(&secret), NOW).await.unwrap();
        let ann = user(number);
        let raised = records.raise_history_id(&ann, HistoryId::new(u64::MAX - number));
        assert!(raised.await.unwrap());
        let target = StoredTarget {
            id: format!("tgt_{number:016x}").parse().unwrap(),
            text: "https://example.com".into(),
            added_at: NOW,
        };
        let added = alerts.add_target(&user(number), &target, 9).await;
        assert!(added.unwrap());
    }
    let first = records.get(&user(0)).await.unwrap().unwrap();
    records.remove(&first).await.unwrap();
    fill_sign_in(store).await;
    let permission = PendingRevocation {
        id: RevocationId([9; 32]),
        secret: "a refresh token".into(),
        added_at: NOW,
    };
    let revocations = store.revocations();
    revocations.add_revocation(&permission, NOW).await.unwrap();
    let outbox = store.alert_outbox();
    let mut mark = outbox.mark("some thing").await.unwrap();
    mark.due_at = Some(NOW);
    let alert = NewAlert {
        id: format!("evt_{:032x}", 1).parse().unwrap(),
        event: "{\"a\":\"ü\"}".to_owned(),
        recipients: vec![AlertRecipient {
            user: None,
            target: "tgt_0123456789abcdef".parse().unwrap(),
        }],
    };
    assert!(outbox.observe(&mark, &[alert], NOW).await.unwrap());
}

/// A link, an ended session, a token and its entry in the audit log.
async fn fill_sign_in(store: &Store) {
    let principal = Principal {
        user: None,
        operator: Some("op".to_owned()),
        is_viewer: false,
    };
    let sessions = store.sessions();
    let end = NOW + MINUTE;
    let link = LinkDigest([7; 32]);
    sessions.add_link(link, &principal, end, NOW).await.unwrap();
    sessions.end_sessions("operator op").await.unwrap();
    let actor = Actor {
        name: "olga".to_owned(),
        origin: "here".to_owned(),
        at: NOW,
    };
    let token = AccessToken {
        id: "0123456789abcdef".parse().unwrap(),
        name: "ci".to_owned(),
        scope: TokenScope::Write,
        user: None,
        created_at: NOW,
        expires_at: end,
        last_used_at: None,
    };
    let tokens = AuditedPorts::tokens(store, &actor);
    tokens.add(&token, TokenDigest([8; 32])).await.unwrap();
}

/// Deliveries that succeed, wait, fail and are given up.
pub(crate) async fn deliver(store: &Store) {
    let queue = store.queue();
    for round in 0..30_u64 {
        for number in 0..4 {
            let notification = notification(number, round * 10 + number + 1);
            queue.accept(notification, NOW).await.unwrap();
        }
        let now = NOW + MINUTE * 40 * u32::try_from(round).unwrap();
        let claims = queue.claim(RelayId::new(1), now, MINUTE, 9).await.unwrap();
        for claim in claims.claims {
            let failure = || Failure {
                // PostgreSQL's text does not contain it.
                detail: "a \0".to_owned(),
                ..Failure::status(503)
            };
            let settlement = match claim.notification.user.as_str() {
                "user-1" => Settlement::Delivered,
                "user-2" => Settlement::DeadLetter {
                    reason: DeadLetterReason::Refused,
                    failure: failure(),
                    cooldown: Duration::ZERO,
                },
                "user-3" => Settlement::Unwanted,
                _ => Settlement::Retry {
                    wait: MINUTE,
                    cooldown: MINUTE,
                    failure: failure(),
                },
            };
            queue.settle(&claim, settlement, now).await.unwrap();
        }
    }
    let last = queue.accept(notification(9, 7), NOW).await;
    last.unwrap();
}

fn named(texts: &ReplacedTexts) -> String {
    let ReplacedTexts {
        table,
        column,
        rows,
        first,
    } = texts;
    format!("{table} {column} {rows} {first}")
}

async fn run(from: &Engine, to: &Engine) -> Result<Vec<CopiedTable>, CopyError> {
    let copied = copy(&from.url(), &to.url(), &mut |_| ()).await;
    copied.map(|copied| copied.tables)
}

#[tokio::test]
async fn there_and_back_is_the_same() {
    let [first, back] = [Engine::sqlite(), Engine::sqlite()];
    let [middle, other] = [Engine::postgres(), Engine::postgres()];
    let store = first.open(keys("k", &[]));
    fill(&store, 30).await;
    deliver(&store).await;
    drop(store);
    let copied = copy(&first.url(), &middle.url(), &mut |_| ())
        .await
        .unwrap();
    let tables = copied.tables;
    for table in &tables {
        assert!(table.rows > 0, "nothing is copied of {}", table.table);
    }
    let replaced: Vec<_> = copied.replaced.iter().map(named).collect();
    assert_eq!(
        replaced,
        ["dead_letter cause 30 1", "delivery cause 40 user-0 0"]
    );
    assert_eq!(run(&middle, &other).await.unwrap(), tables);
    assert_eq!(run(&other, &back).await.unwrap(), tables);

    // Both go on alike.
    for engine in [&other, &back] {
        let store = engine.open(keys("k", &[]));
        let credentials = store.credentials().credentials(&user(7)).await.unwrap();
        assert_eq!(credentials.unwrap().expose(), "secret 7");
        assert_eq!(store.users().count().await.unwrap(), 29);
        deliver(&store).await;
    }
    let both = [&other, &back].map(|engine| engine.open(keys("k", &[])));
    for number in 0..10 {
        let shown = both.each_ref().map(|store| store.log());
        let [left, right] = shown.each_ref().map(|log| async {
            let deliveries = log.deliveries(&user(number)).await.unwrap();
            let letters = log.dead_letters(Some(&user(number)), None, 99).await;
            // Only a file keeps what is no text in PostgreSQL.
            format!("{deliveries:?} {:?}", letters.unwrap()).replace("\\0", "\u{fffd}")
        });
        assert_eq!(left.await, right.await);
    }
}

#[tokio::test]
async fn a_file_keeps_texts_that_postgresql_cannot_hold() {
    let [first, other] = [Engine::sqlite(), Engine::sqlite()];
    let store = first.open(keys("k", &[]));
    deliver(&store).await;
    let before = store.log().dead_letters(None, None, 9).await.unwrap();
    drop(store);
    let copied = copy(&first.url(), &other.url(), &mut |_| ()).await.unwrap();
    assert_eq!(copied.replaced, []);
    let copied = other.open(keys("k", &[])).log();
    assert_eq!(copied.dead_letters(None, None, 9).await.unwrap(), before);
    assert!(before[0].cause.contains('\0'), "{}", before[0].cause);
}

#[tokio::test]
async fn an_interrupted_copy_continues_and_is_not_used_before() {
    for (from, to) in [
        (Engine::sqlite(), Engine::postgres()),
        (Engine::postgres(), Engine::sqlite()),
    ] {
        let store = from.open(keys("k", &[]));
        fill(&store, 12).await;
        drop(store);
        // It ends within a batch or after it, as if it were killed.
        for stop_after in 1.. {
            let mut batches = 0;
            let (url, target) = (from.url(), to.url());
            let stopped = async {
                let (stop, stops) = tokio::sync::oneshot::channel::<()>();
                let mut stop = Some(stop);
                let mut progress = |_| {
                    batches += 1;
                    if batches == stop_after {
                        drop(stop.take());
                    }
                };
                tokio::select! {
                    biased;
                    _ = stops => None,
                    copied = copy(&url, &target, &mut progress) => Some(copied),
                }
            };
            match stopped.await {
                Some(copied) => {
                    copied.unwrap();
                    break;
                }
                None => assert_unfinished(&to).await,
            }
        }
        let store = to.open(keys("k", &[]));
        assert_eq!(store.users().count().await.unwrap(), 11);
    }
}

async fn assert_unfinished(to: &Engine) {
    let opened = Store::open(&to.url(), StoreOptions::service().keys(keys("k", &[])));
    let error = match opened {
        Ok(store) => format!("{:?}", store.users().count().await.unwrap_err()),
        Err(error) => format!("{error:?}"),
    };
    assert!(error.contains("UnfinishedCopy"), "{error}");
    let another = Engine::sqlite();
    drop(another.open(keys("k", &[])));
    let refused = run(&another, to).await.unwrap_err();
    assert!(
        matches!(refused, CopyError::AnotherCopy { .. }),
        "{refused:?}"
    );
}

/// As if it were killed between any two answers of the server.
#[tokio::test]
async fn a_database_that_is_to_get_a_copy_is_never_one_without_data() {
    let (from, to) = (Engine::sqlite(), Engine::postgres());
    drop(from.open(keys("k", &[])));
    let (url, target) = (from.url(), to.url());
    for limit in (1..).step_by(4) {
        let mut progress = |_| ();
        let mut copying = pin!(copy(&url, &target, &mut progress));
        let mut polls = 0;
        let stopped = poll_fn(|context| {
            polls += 1;
            match copying.as_mut().poll(context) {
                Poll::Pending if polls == limit => Poll::Ready(None),
                polled => polled.map(Some),
            }
        });
        if let Some(copied) = stopped.await {
            copied.unwrap();
            break;
        }
        let store = Store::open(&target, StoreOptions::read_only()).unwrap();
        let Err(refused) = store.users().count().await else {
            // The server took the last statement, and its answer was not read.
            drop(store);
            let repeated = copy(&url, &target, &mut |_| ()).await.unwrap();
            assert!(repeated.was_complete);
            break;
        };
        let said = format!("{refused:?}");
        assert!(
            said.contains("NoSchema") || said.contains("UnfinishedCopy"),
            "{said}"
        );
    }
    assert_eq!(to.open(keys("k", &[])).users().count().await.unwrap(), 0);
}

async fn a_copy_that_is_complete_may_be_repeated(engine: &Engine) {
    let source = Engine::sqlite();
    let store = source.open(keys("k", &[]));
    store.sessions().end_sessions("ann").await.unwrap();
    drop(store);
    for is_repeated in [false, true, true] {
        let copied = copy(&source.url(), &engine.url(), &mut |_| ())
            .await
            .unwrap();
        assert_eq!(copied.was_complete, is_repeated);
    }
}

/// The name of a session says nothing about what it is.
#[tokio::test]
async fn a_database_that_is_used_under_another_name_is_not_copied() {
    let engine = Engine::postgres();
    let url = format!("{}?application_name=mail-relay", engine.url());
    let store = Store::open(&url, StoreOptions::service()).unwrap();
    store.users().count().await.unwrap();
    let refused = run(&engine, &Engine::sqlite()).await.unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("uses the source (mail-relay, pid "), "{said}");
}

/// It would wait for the copy, and then write to the source.
#[tokio::test]
async fn a_database_that_is_used_since_the_copy_began_is_not_copied() {
    let (engine, to) = (Engine::postgres(), Engine::sqlite());
    let store = engine.open(keys("k", &[]));
    store.users().count().await.unwrap();
    drop(store);
    let (url, target) = (engine.url(), to.url());
    let mut late = None;
    let mut progress = |_| {
        late.get_or_insert_with(|| {
            let url = format!("{url}?application_name=late");
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let store = Store::open(&url, StoreOptions::read_only()).unwrap();
                runtime.block_on(store.users().count()).unwrap();
                (store, runtime)
            })
            .join()
            .unwrap()
        });
    };
    let refused = copy(&url, &target, &mut progress).await.unwrap_err();
    assert!(matches!(refused, CopyError::InUse { .. }), "{refused:?}");
    assert_unfinished(&to).await;
    let (store, runtime) = late.unwrap();
    drop(store);
    runtime.shutdown_background();
}

async fn a_store_that_is_used_is_not_copied(engine: &Engine) {
    let store = engine.open(keys("k", &[]));
    store.users().count().await.unwrap();
    let refused = run(engine, &Engine::sqlite()).await.unwrap_err();
    assert!(matches!(refused, CopyError::InUse { .. }), "{refused:?}");
    let source = Engine::sqlite();
    drop(source.open(keys("k", &[])));
    let refused = run(&source, engine).await.unwrap_err();
    assert!(matches!(refused, CopyError::InUse { .. }), "{refused:?}");
}

async fn a_target_with_data_is_refused(engine: &Engine) {
    let source = Engine::sqlite();
    for (one, who) in [(&source, "ann"), (engine, "bob")] {
        let store = one.open(keys("k", &[]));
        store.sessions().end_sessions(who).await.unwrap();
    }
    let refused = run(&source, engine).await.unwrap_err();
    assert!(matches!(refused, CopyError::NotEmpty), "{refused:?}");
}

async fn a_store_is_not_copied_to_itself(engine: &Engine) {
    drop(engine.open(keys("k", &[])));
    let refused = run(engine, engine).await.unwrap_err();
    assert!(matches!(refused, CopyError::Same), "{refused:?}");
}

#[tokio::test]
async fn a_file_that_does_not_exist_is_not_copied() {
    let refused = run(&Engine::sqlite(), &Engine::sqlite()).await.unwrap_err();
    let is_missing = matches!(refused, CopyError::Source(OpenError::Missing));
    assert!(is_missing, "{refused:?}");
}
