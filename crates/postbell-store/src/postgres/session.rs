//! Runs statements on one connection.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use postbell_core::UserId;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use super::failure::Failure;
use super::parameter::Parameter;
use crate::columns::corrupt;

type Parameters<'a> = &'a [&'a dyn Parameter];

/// A statement with its values.
pub(super) struct Call<'a> {
    sql: &'static str,
    parameters: Vec<Box<dyn Parameter + 'a>>,
}

impl<'a> Call<'a> {
    pub(super) const fn new(sql: &'static str, parameters: Vec<Box<dyn Parameter + 'a>>) -> Self {
        Self { sql, parameters }
    }
}

/// Runs statements. They take effect only while its connection is driven ([`Connection::run`](super::connection::Connection::run)).
pub(super) struct Session {
    client: Client,
    /// By their text; `None` if statements are not prepared.
    statements: Option<Mutex<HashMap<String, Statement>>>,
}

impl Session {
    pub(super) fn new(client: Client, prepares: bool) -> Self {
        Self {
            client,
            statements: prepares.then(Mutex::default),
        }
    }

    /// Whether statements are prepared: the session is not shared with others through a pooler.
    pub(super) const fn prepares(&self) -> bool {
        self.statements.is_some()
    }

    /// Runs a query, and returns its rows.
    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let Some(statements) = &self.statements else {
            let typed: Vec<_> = parameters
                .iter()
                .map(|parameter| (parameter.value(), parameter.sql_type()))
                .collect();
            return Ok(self.client.query_typed(sql, &typed).await?);
        };
        let statement = self.prepared(statements, sql, parameters).await?;
        Ok(self.client.query(&statement, &values(parameters)).await?)
    }

    /// Runs a query that returns at most one row.
    pub(super) async fn query_opt(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>, Failure> {
        Ok(self.query(sql, parameters).await?.into_iter().next())
    }

    /// Runs a query that returns one row.
    pub(super) async fn query_one(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Row, Failure> {
        let row = self.query_opt(sql, parameters).await?;
        Ok(row.ok_or_else(|| corrupt("database", "a row is missing"))?)
    }

    /// Runs a statement, and returns how many rows it changed.
    pub(super) async fn execute(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<u64, Failure> {
        let Some(statements) = &self.statements else {
            let typed: Vec<_> = parameters
                .iter()
                .map(|parameter| (parameter.value(), parameter.sql_type()))
                .collect();
            return Ok(self.client.execute_typed(sql, &typed).await?);
        };
        let statement = self.prepared(statements, sql, parameters).await?;
        Ok(self.client.execute(&statement, &values(parameters)).await?)
    }

    /// Runs statements one after the other without waiting for their answers in between, and returns
    /// the rows of each.
    pub(super) async fn pipeline(&self, calls: Vec<Call<'_>>) -> Result<Vec<Vec<Row>>, Failure> {
        let calls: Vec<(&str, Vec<&dyn Parameter>)> = calls
            .iter()
            .map(|call| (call.sql, call.parameters.iter().map(|one| &**one).collect()))
            .collect();
        // A statement that had to be prepared first would be overtaken by those that follow.
        if let Some(statements) = &self.statements {
            for (sql, parameters) in &calls {
                self.prepared(statements, sql, parameters).await?;
            }
        }
        let answers = calls
            .iter()
            .map(|(sql, parameters)| self.query(sql, parameters));
        // All are awaited, even if one fails: the last one ends the transaction.
        join_all(answers).await.into_iter().collect()
    }

    /// Runs statements without parameters.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Failure> {
        Ok(self.client.batch_execute(sql).await?)
    }

    async fn prepared(
        &self,
        statements: &Mutex<HashMap<String, Statement>>,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Statement, Failure> {
        if let Some(statement) = lock(statements).get(sql) {
            return Ok(statement.clone());
        }
        let types: Vec<Type> = parameters.iter().map(|one| one.sql_type()).collect();
        let statement = self.client.prepare_typed(sql, &types).await?;
        lock(statements).insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

fn values<'a>(parameters: Parameters<'a>) -> Vec<&'a (dyn ToSql + Sync)> {
    parameters.iter().map(|one| one.value()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The transaction that a write runs in. Clones are the same transaction.
#[derive(Clone)]
pub(super) struct Transaction {
    session: Arc<Session>,
    changed: Arc<Mutex<Vec<UserId>>>,
}

impl Transaction {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            changed: Arc::default(),
        }
    }

    /// Announces, after the commit, that something of `user` has changed.
    pub(super) fn changed(&self, user: &UserId) {
        lock(&self.changed).push(user.clone());
    }

    /// The users of whom something has changed.
    pub(super) fn take_changed(&self) -> Vec<UserId> {
        std::mem::take(&mut lock(&self.changed))
    }
}

impl Deref for Transaction {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}
