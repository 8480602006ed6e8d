//! Further Google accounts of users.

use super::{SECOND, T0, add, add_connected, connection, get, remove, user};
use crate::UserStore;
use postbell_core::{
    HistoryId, Listing, MAX_ACCOUNTS_OF_USER, MachineLocation, MailProblem, NewAccount,
    ProblemCode, StoredCredentials, Timestamp, UserId, UserRecord, UsersError,
};

fn new(owner: &UserRecord, name: &str, email: &str) -> NewAccount {
    NewAccount {
        record: user(&format!("{}.{name}", owner.user)),
        owner: owner.user.clone(),
        owner_added: owner.created_at,
        connection: connection(email, T0 + SECOND),
        watch_expires_at: Some(T0 + SECOND * 7),
    }
}

async fn put(store: &UserStore, new: NewAccount) -> Result<UserRecord, UsersError> {
    let credentials = StoredCredentials::from(format!("credentials of {}", new.record));
    let added = store.users.add_account(new, &credentials, T0 + SECOND);
    added.await
}

async fn put_named(store: &UserStore, owner: &UserRecord, name: &str) -> UserRecord {
    let email = format!("{name}@example.com");
    put(store, new(owner, name, &email)).await.unwrap()
}

async fn accounts_of(store: &UserStore, owners: &[&str]) -> Vec<UserId> {
    let owners: Vec<_> = owners.iter().map(|name| user(name)).collect();
    let accounts = store.users.accounts_of(&owners).await.unwrap();
    accounts.into_iter().map(|account| account.user).collect()
}

/// With its credentials; the record of the user stays as it is.
pub async fn a_further_account_has_a_record_of_its_own(store: &UserStore) {
    let ann = add_connected(store, "ann", "ann@example.com", 0).await;
    let team = put_named(store, &ann, "team").await;
    assert_eq!(team.owner.as_ref(), Some(&ann.user));
    assert_eq!(team.pending_sync, Some(team.version));
    assert!(team.notifications_enabled && team.location == MachineLocation::Unknown);
    assert_eq!(get(store, "ann.team").await.as_ref(), Some(&team));
    assert_eq!(get(store, "ann").await, Some(ann.clone()));
    let kept = store.credentials.credentials(&team.user).await.unwrap();
    assert_eq!(kept.unwrap().expose(), "credentials of ann.team");

    let mut changed = team.clone();
    changed.notifications_enabled = false;
    changed.mark_pending_sync();
    let written = store.users.replace(&changed, None, T0).await.unwrap();
    assert_eq!(written.owner.as_ref(), Some(&ann.user));
    assert_eq!(get(store, "ann.team").await, Some(written));
    assert_eq!(get(store, "ann").await, Some(ann));
}

/// By user, and in the order in which they were connected.
pub async fn further_accounts_are_listed_by_user(store: &UserStore) {
    let ann = add_connected(store, "ann", "ann@example.com", 0).await;
    let bob = add(store, "bob").await;
    add(store, "cid").await;
    for (owner, name, seconds) in [(&bob, "x", 1), (&ann, "late", 3), (&ann, "soon", 2)] {
        let mut account = new(owner, name, &format!("{name}@example.com"));
        account.connection.connected_at = T0 + SECOND * seconds;
        put(store, account).await.unwrap();
    }
    let all = ["ann.soon", "ann.late", "bob.x"].map(user);
    let listed = accounts_of(store, &["ann", "bob", "cid", "dan"]).await;
    assert_eq!(listed, all);
    assert_eq!(accounts_of(store, &["bob"]).await, all[2..]);
    assert_eq!(accounts_of(store, &["cid"]).await, []);
    assert_eq!(accounts_of(store, &[]).await, []);
}

/// They are not further users: lists and numbers of users do not have them, those of accounts do.
pub async fn further_accounts_are_not_users(store: &UserStore) {
    let ann = add_connected(store, "ann", "ann@example.com", 0).await;
    add(store, "ann.b").await;
    put_named(store, &ann, "team").await;
    assert_eq!(store.users.count().await.unwrap(), 2);
    let ids = async |listing: Listing| {
        let listed = store.users.list(&listing, 10).await.unwrap();
        let ids: Vec<_> = listed.into_iter().map(|it| it.user.to_string()).collect();
        ids
    };
    let by_user = |prefix: &str, after: Option<&str>| Listing::ByUser {
        prefix: prefix.to_owned(),
        after: after.map(user),
    };
    assert_eq!(ids(by_user("", None)).await, ["ann", "ann.b"]);
    assert_eq!(ids(by_user("ann.", None)).await, ["ann.b"]);
    assert_eq!(ids(by_user("", Some("ann.b"))).await, [""; 0]);
    let all = ["ann", "ann.b", "ann.team"];
    assert_eq!(ids(Listing::ByRecord { after: None }).await, all);
    let after = Some(user("ann.b"));
    assert_eq!(ids(Listing::ByRecord { after }).await, all[2..]);
    let by_email = Listing::ByEmail {
        prefix: "team@".to_owned(),
        after: None,
    };
    assert_eq!(ids(by_email).await, ["ann.team"]);
    let ends = Listing::ByWatchEnd {
        until: T0 + SECOND * 8,
        after: None,
    };
    assert_eq!(ids(ends).await, ["ann.team"]);
    remove(store, "ann.team").await;
    assert_eq!(store.users.count().await.unwrap(), 2);
}

/// In whatever spelling; also one that is connected later.
pub async fn a_user_has_a_mailbox_once(store: &UserStore) {
    let ann = add_connected(store, "ann", "first.last@gmail.com", 0).await;
    let is_of = |refused: Result<UserRecord, UsersError>, name: &str| matches!(refused, Err(UsersError::AccountConnected { record }) if record == user(name));
    let again = put(store, new(&ann, "x", "FirstLast@googlemail.com"));
    assert!(is_of(again.await, "ann"));
    let team = put_named(store, &ann, "team").await;
    let again = put(store, new(&ann, "x", "team@example.com"));
    assert!(is_of(again.await, "ann.team"));
    let accounts = accounts_of(store, &["ann"]).await;
    assert_eq!(accounts, std::slice::from_ref(&team.user));

    let mut first = get(store, "ann").await.unwrap();
    first.connect(connection("Team@Example.com", T0));
    let replaced = store.users.replace(&first, None, T0);
    assert!(is_of(replaced.await, "ann.team"));
    let mut other = team.clone();
    other.connect(connection("firstlast@gmail.com", T0));
    assert!(is_of(store.users.replace(&other, None, T0).await, "ann"));
    // Its own one may be connected again.
    let mut same = team;
    same.connect(connection("team@example.com", T0 + SECOND * 9));
    store.users.replace(&same, None, T0).await.unwrap();
    // Another user may have it.
    let bob = add_connected(store, "bob", "team@example.com", 0).await;
    let theirs = put(store, new(&bob, "x", "first.last@gmail.com"));
    theirs.await.unwrap();
}

/// Of two browsers at once, one connects it.
pub async fn of_two_concurrent_accounts_with_one_mailbox_one_is_added(store: &UserStore) {
    let ann = add_connected(store, "ann", "ann@example.com", 0).await;
    let account = |name: &str| put(store, new(&ann, name, "team@example.com"));
    let (added, refused) = match tokio::join!(account("x"), account("y")) {
        (Ok(added), Err(refused)) | (Err(refused), Ok(added)) => (added, refused),
        both => panic!("{both:?}"),
    };
    assert!(
        matches!(&refused, UsersError::AccountConnected { record } if *record == added.user),
        "{refused:?}"
    );
    assert_eq!(accounts_of(store, &["ann"]).await, [added.user]);
}

/// Counting that of the user's own record.
pub async fn a_user_has_a_bounded_number_of_accounts(store: &UserStore) {
    let ann = add(store, "ann").await;
    for number in 1..MAX_ACCOUNTS_OF_USER {
        put_named(store, &ann, &format!("a{number}")).await;
    }
    let refused = put(store, new(&ann, "x", "x@example.com")).await;
    assert!(matches!(refused, Err(UsersError::TooManyAccounts)));
    assert_eq!(get(store, "ann.x").await, None);
    // One that the user has is found before the number is counted.
    let refused = put(store, new(&ann, "x", "a1@example.com")).await;
    assert!(matches!(refused, Err(UsersError::AccountConnected { .. })));
}

/// Not of another account, of one who was removed, or of one who was added anew, nor with the id of another record.
pub async fn a_further_account_belongs_to_a_user(store: &UserStore) {
    let ann = add_connected(store, "ann", "ann@example.com", 0).await;
    let team = put_named(store, &ann, "team").await;
    let refused = put(store, new(&team, "x", "x@example.com")).await;
    assert!(
        matches!(&refused, Err(UsersError::IsAccount { owner, .. }) if *owner == ann.user),
        "{refused:?}"
    );
    let itself = NewAccount {
        record: ann.user.clone(),
        ..new(&ann, "x", "x@example.com")
    };
    for taken in [itself, new(&ann, "team", "x@example.com")] {
        let refused = put(store, taken).await;
        assert!(
            matches!(refused, Err(UsersError::AlreadyExists { .. })),
            "{refused:?}"
        );
    }
    let anew = NewAccount {
        owner_added: Timestamp::from_millis(T0.as_millis() - 1),
        ..new(&ann, "x", "x@example.com")
    };
    let bob = add(store, "bob").await;
    remove(store, bob.user.as_str()).await;
    for gone in [anew, new(&bob, "x", "x@example.com")] {
        let record = gone.record.clone();
        let refused = put(store, gone).await;
        assert!(
            matches!(refused, Err(UsersError::Missing { .. })),
            "{refused:?}"
        );
        let kept = store.credentials.credentials(&record).await.unwrap();
        assert!(kept.is_none());
    }
}

/// With its credentials and its history id. The machine learns of it, so the configuration of the user is pending.
pub async fn a_removed_account_leaves_its_user_and_the_other_accounts(store: &UserStore) {
    let ann = add_connected(store, "ann", "ann@example.com", 0).await;
    let team = put_named(store, &ann, "team").await;
    put_named(store, &ann, "x").await;
    let history_id = HistoryId::new(7);
    let raised = store.users.raise_history_id(&team.user, history_id);
    assert!(raised.await.unwrap());
    let refused = store.users.remove(&ann).await;
    assert!(
        matches!(refused, Err(UsersError::HasAccounts { .. })),
        "{refused:?}"
    );
    assert!(remove(store, team.user.as_str()).await);
    assert!(!remove(store, team.user.as_str()).await);
    assert_eq!(accounts_of(store, &["ann"]).await, [user("ann.x")]);
    let kept = store.credentials.credentials(&team.user).await.unwrap();
    assert!(kept.is_none());
    let now = get(store, "ann").await.unwrap();
    assert_eq!(now.pending_sync, Some(now.version));
    assert!(now.google == ann.google && now.notifications_enabled);
    // It is not the former one.
    let again = put_named(store, &ann, "team").await;
    assert_eq!(again.last_history_id, None);

    for account in ["ann.x", "ann.team", "ann"] {
        assert!(remove(store, account).await, "{account}");
    }
    assert_eq!(store.users.count().await.unwrap(), 0);
}

/// Lists and numbers have it, and whatever is written of the account changes nothing.
pub async fn an_account_that_the_machine_does_not_watch_has_that_problem(store: &UserStore) {
    let problem = async |name: &str| {
        let record = get(store, name).await.unwrap();
        record.problem.map(|problem| problem.code)
    };
    let unsupported = Some(ProblemCode::AccountsUnsupported);
    let mut ann = add_connected(store, "ann", "ann@example.com", 0).await;
    let bob = add_connected(store, "bob", "bob@example.com", 0).await;
    put_named(store, &bob, "other").await;
    let team = put_named(store, &ann, "team").await;
    assert_eq!(team.problem.map(|it| it.code), unsupported);

    let write = async |name: &str, change: &dyn Fn(&mut UserRecord)| {
        let mut record = get(store, name).await.unwrap();
        change(&mut record);
        store.users.replace(&record, None, T0).await.unwrap()
    };
    for (several_accounts, expected, without_mail) in [(true, None, 1), (false, unsupported, 2)] {
        ann = write("ann", &|ann| ann.several_accounts = several_accounts).await;
        assert_eq!(
            (problem("ann.team").await, problem("ann").await),
            (expected, None)
        );
        let stale = store.users.replace(&team, None, T0).await;
        assert!(
            matches!(stale, Err(UsersError::Changed { .. })),
            "{stale:?}"
        );
        let written = write("ann.team", &|team| team.problem = None).await;
        assert_eq!(written.problem.map(|it| it.code), expected);
        let listing = Listing::ByProblem {
            code: unsupported,
            after: None,
        };
        let listed = store.users.list(&listing, 10).await.unwrap().len();
        let counts = store.users.count_problems().await.unwrap();
        assert_eq!((listed, counts[0].1), (without_mail, without_mail as u64));
        let counts = store.users.fleet_counts(T0, T0).await.unwrap();
        assert_eq!(counts.without_mail, without_mail as u64);
        let later = put_named(store, &ann, &format!("a{without_mail}")).await;
        assert_eq!(later.problem.map(|it| it.code), expected);
        remove(store, later.user.as_str()).await;
    }
    // One of which the machine reports something else.
    write("ann", &|ann| ann.several_accounts = true).await;
    let revoked = MailProblem {
        code: ProblemCode::GrantRevoked,
        since: T0,
    };
    write("ann.team", &|team| team.problem = Some(revoked)).await;
    assert_eq!(problem("ann.team").await, Some(ProblemCode::GrantRevoked));
    let still = write("ann", &|ann| ann.wake_on_mail = true).await;
    assert!(still.several_accounts);
    assert_eq!(problem("ann.team").await, Some(ProblemCode::GrantRevoked));
    assert_eq!(problem("bob.other").await, unsupported);
}

/// Also if it is not that of the user's own record.
pub async fn a_user_with_a_connected_account_has_connected(store: &UserStore) {
    let ann = add(store, "ann").await;
    let listed = async || {
        let listing = Listing::NotConnected { after: None };
        let listed = store.users.list(&listing, 10).await.unwrap();
        let counts = store.users.fleet_counts(T0, T0).await.unwrap();
        assert_eq!(counts.not_connected, listed.len() as u64);
        listed.into_iter().map(|it| it.user).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, std::slice::from_ref(&ann.user));
    let team = put_named(store, &ann, "team").await;
    assert_eq!(listed().await, []);
    remove(store, team.user.as_str()).await;
    assert_eq!(listed().await, [ann.user]);
}
