use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_core::{InstanceStatus, MachineLocation, Timestamp};
use postbell_testkit::PausedClock;
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::*;

const ACCOUNT: &str = "push@p.iam.gserviceaccount.com";
const ADDRESS: &str = "ann@example.com";
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A directory of one user that counts its questions.
struct OneUser {
    answer: Mutex<Lookup>,
    is_away: Mutex<bool>,
    questions: AtomicUsize,
    /// An answer is read, then waits for one of these.
    may_answer: Semaphore,
}

#[async_trait]
impl Directory for OneUser {
    async fn look_up(&self, _: &UserId) -> Result<Option<Lookup>, DirectoryError> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer.lock().clone();
        self.may_answer.acquire().await.unwrap().forget();
        if *self.is_away.lock() {
            return Err(DirectoryError::Unavailable("on purpose".into()));
        }
        Ok(Some(answer))
    }

    async fn instance(&self, _: &UserId) -> Result<Option<Instance>, DirectoryError> {
        panic!("it is asked for all at once")
    }

    async fn push_account(&self, _: &UserId) -> Result<Option<String>, DirectoryError> {
        panic!("it is asked for all at once")
    }

    async fn gateway_token(&self, _: &UserId) -> Result<Option<SecretString>, DirectoryError> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        if *self.is_away.lock() {
            return Err(DirectoryError::Unavailable("on purpose".into()));
        }
        Ok(self.answer.lock().token.clone())
    }

    async fn users_by_email(&self, _: &str) -> Result<Vec<UserId>, DirectoryError> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        Ok(vec![ann()])
    }

    async fn users_by_sandbox(&self, _: &str) -> Result<Vec<UserId>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn report_history_id(&self, _: &UserId, _: HistoryId) -> Result<(), DirectoryError> {
        Ok(())
    }

    async fn start_machine(&self, _: &UserId) -> Result<bool, DirectoryError> {
        Ok(false)
    }

    async fn report_running(
        &self,
        _: &UserId,
        _: MachineReport,
        _: Option<&[AccountReport]>,
    ) -> Result<(), DirectoryError> {
        Ok(())
    }
}

fn ann() -> UserId {
    "ann".parse().unwrap()
}

fn cache() -> (Arc<OneUser>, DirectoryCache) {
    let instance = Instance {
        sandbox_id: "sandbox-1".to_owned(),
        status: InstanceStatus::Running,
        location: MachineLocation::Unknown,
        google_connected: true,
        email: Some(ADDRESS.parse().unwrap()),
        notifications_enabled: true,
        problem: None,
    };
    let directory = Arc::new(OneUser {
        answer: Mutex::new(Lookup {
            instance,
            push_account: Some(ACCOUNT.to_owned()),
            token: Some("token".into()),
            fresh_for: MINUTE,
        }),
        is_away: Mutex::new(false),
        questions: AtomicUsize::new(0),
        may_answer: Semaphore::new(1000),
    });
    let clock = Arc::new(PausedClock::starting_at(Timestamp::from_millis(0)));
    let cache = DirectoryCache::new(Arc::clone(&directory) as _, clock);
    (directory, cache)
}

/// Asks all that a push of the user and its delivery need.
async fn push(cache: &DirectoryCache, account: &str) -> (Option<bool>, Wanted) {
    let user = ann();
    let is_account = cache.is_push_account(&user, account).await.unwrap();
    let wanted = cache.is_wanted(&user, Some(ADDRESS)).await.unwrap();
    if wanted == Wanted::Yes {
        assert!(cache.fresh_user(&user).is_some());
        let token = cache.gateway_token(&user).await.unwrap();
        assert_eq!(token.unwrap().expose_secret(), "token");
    }
    (is_account, wanted)
}

impl OneUser {
    fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn a_cold_push_costs_one_question_and_those_of_the_next_minute_none() {
    let (directory, cache) = cache();
    for _ in 0..50 {
        assert_eq!(push(&cache, ACCOUNT).await, (Some(true), Wanted::Yes));
        sleep(SECOND).await;
    }
    assert_eq!(directory.questions(), 1);
    sleep(MINUTE).await;
    push(&cache, ACCOUNT).await;
    assert_eq!(directory.questions(), 2);
}

/// By its address, who has the mailbox.
#[tokio::test(start_paused = true)]
async fn a_cold_push_of_a_shared_subscription_costs_two_questions() {
    let (directory, cache) = cache();
    for address in [ADDRESS, "Ann@Example.com"] {
        let users = cache.users_by_email(address).await.unwrap();
        assert_eq!(*users, [ann()]);
        assert_eq!(push(&cache, ACCOUNT).await, (Some(true), Wanted::Yes));
    }
    assert_eq!(directory.questions(), 2);
}

/// A mail that arrives just after its owner switched notifications on, or connected another account, is
/// not dropped.
#[tokio::test(start_paused = true)]
async fn a_cached_answer_rejects_nothing() {
    let (directory, cache) = cache();
    {
        let mut answer = directory.answer.lock();
        answer.instance.notifications_enabled = false;
        answer.push_account = Some("former@p.iam.gserviceaccount.com".to_owned());
    }
    assert_eq!(push(&cache, ACCOUNT).await, (Some(false), Wanted::No));
    {
        let mut answer = directory.answer.lock();
        answer.instance.notifications_enabled = true;
        answer.push_account = Some(ACCOUNT.to_owned());
    }
    assert_eq!(push(&cache, ACCOUNT).await, (Some(true), Wanted::Yes));
}

/// The bound of what a change can be missed by a relay that the platform could not notify.
#[tokio::test(start_paused = true)]
async fn a_change_is_seen_at_once_if_it_is_revoked_and_else_within_a_minute() {
    for is_revoked in [true, false] {
        let (directory, cache) = cache();
        assert_eq!(push(&cache, ACCOUNT).await, (Some(true), Wanted::Yes));
        {
            let mut answer = directory.answer.lock();
            answer.instance.google_connected = false;
            answer.push_account = None;
        }
        if is_revoked {
            cache.forget(&ann());
        } else {
            sleep(MINUTE - SECOND).await;
            assert_eq!(push(&cache, ACCOUNT).await, (Some(true), Wanted::Yes));
            sleep(SECOND).await;
        }
        assert_eq!(
            push(&cache, ACCOUNT).await,
            (None, Wanted::No),
            "{is_revoked}"
        );
    }
}

/// As the rest, if the platform sends it with the rest.
#[tokio::test(start_paused = true)]
async fn a_token_that_changed_is_used_for_at_most_a_minute() {
    for is_revoked in [true, false] {
        let (directory, cache) = cache();
        push(&cache, ACCOUNT).await;
        directory.answer.lock().token = Some("another".into());
        if is_revoked {
            cache.forget(&ann());
        } else {
            sleep(MINUTE).await;
        }
        let token = cache.gateway_token(&ann()).await.unwrap();
        assert_eq!(token.unwrap().expose_secret(), "another");
    }
}

/// It may have been read before the change, and would be used for a minute after it.
#[tokio::test(start_paused = true)]
async fn an_answer_that_was_under_way_when_its_user_changed_is_not_remembered() {
    let (directory, cache) = cache();
    directory.may_answer.forget_permits(1000);
    let user = ann();
    let early = cache.latest_user(&user);
    let change = async {
        tokio::task::yield_now().await;
        directory.answer.lock().instance.notifications_enabled = false;
        cache.forget(&user);
        directory.may_answer.add_permits(1000);
    };
    let (early, ()) = tokio::join!(early, change);
    assert!(early.unwrap().unwrap().instance.notifications_enabled);
    // Nor does it serve as the last answer.
    *directory.is_away.lock() = true;
    assert!(cache.is_wanted(&user, Some(ADDRESS)).await.is_err());
    assert!(cache.gateway_token(&user).await.is_err());
    *directory.is_away.lock() = false;
    let wanted = cache.is_wanted(&user, Some(ADDRESS)).await.unwrap();
    assert_eq!(wanted, Wanted::No);
}

#[tokio::test(start_paused = true)]
async fn the_last_answers_serve_for_an_hour_while_the_directory_is_away() {
    let (directory, cache) = cache();
    push(&cache, ACCOUNT).await;
    *directory.is_away.lock() = true;
    for _ in 0..59 {
        sleep(MINUTE).await;
        assert_eq!(push(&cache, ACCOUNT).await, (Some(true), Wanted::Yes));
    }
    sleep(MINUTE).await;
    assert!(cache.is_push_account(&ann(), ACCOUNT).await.is_err());
}

/// The machine has answered 401, so its token may have changed.
#[tokio::test(start_paused = true)]
async fn a_forgotten_token_is_asked_for_again_and_the_rest_is_kept() {
    let (directory, cache) = cache();
    push(&cache, ACCOUNT).await;
    cache.forget_token(&ann());
    assert!(cache.fresh_user(&ann()).is_some());
    directory.answer.lock().token = Some("another".into());
    let token = cache.gateway_token(&ann()).await.unwrap();
    assert_eq!(token.unwrap().expose_secret(), "another");
    assert_eq!(directory.questions(), 2);
}
