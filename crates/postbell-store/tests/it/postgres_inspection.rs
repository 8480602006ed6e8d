//! What the operator of a server learns.

use std::time::Duration;

use postbell_core::{DatabaseState, StoreError, SynchronousStandby};
use postbell_store::{Store, StoreOptions};
use postbell_testkit::PostgresDatabase;
use tokio_postgres::NoTls;

fn open(url: &str) -> Store {
    Store::open(url, StoreOptions::read_write()).unwrap()
}

async fn inspect(url: &str, oldest: Duration) -> Result<DatabaseState, StoreError> {
    open(url).inspect(oldest).await.map(Option::unwrap)
}

#[tokio::test]
async fn a_session_with_an_old_snapshot_is_named() {
    let database = PostgresDatabase::create();
    Store::migrate(&database.url()).unwrap();
    let url = format!("{}?application_name=a%20report", database.url());
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let report = async {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1";
        client.batch_execute(begin).await.unwrap();
        let state = inspect(&database.url(), Duration::ZERO).await.unwrap();
        let snapshot = state.old_snapshot.unwrap();
        assert!(snapshot.session.starts_with("a report as "), "{snapshot:?}");
        let state = inspect(&database.url(), Duration::from_secs(600)).await;
        assert_eq!(state.unwrap().old_snapshot, None, "it is not that old");
        client.batch_execute("ROLLBACK").await.unwrap();
        let state = inspect(&database.url(), Duration::ZERO).await.unwrap();
        assert_eq!(state.old_snapshot, None);
        assert_eq!(state.synchronous_standby, SynchronousStandby::None);
    };
    tokio::select! {
        () = report => (),
        ended = connection => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_an_error_with_the_reason() {
    let database = PostgresDatabase::create();
    let url = database.url();
    let error = |url: String| async move {
        let error = inspect(&url, Duration::ZERO).await.unwrap_err();
        format!("{:?}", error)
    };
    let said = error(url.clone()).await;
    assert!(said.contains("NoSchema"), "{said}");
    Store::migrate(&url).unwrap();
    let said = error(format!("{url}?options=-csynchronous_commit%3Doff")).await;
    assert!(said.contains("synchronous_commit below on"), "{said}");
    let said = error("postgres://ann:hunter2@127.0.0.1:1/db".to_owned()).await;
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn a_file_has_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("p.db").display());
    let store = Store::open(&url, StoreOptions::service()).unwrap();
    assert_eq!(store.inspect(Duration::ZERO).await.unwrap(), None);
}
