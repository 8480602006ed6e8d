//! A minimal browser: it keeps cookies and sends the origin of its forms.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use postbell_alerts::{AlertClient, Reach, UserTargets};
use postbell_core::{
    DeliveryLog, DeliveryQueue, Principal as Who, Sessions, SystemClock, Timestamp,
};
use postbell_google::SignIn;
use postbell_platform::{
    CookieCipher, IssuerSignIn, LocalRelay, Pages, PagesParts, SignInAccess, SignInLinks,
    system_random,
};
use postbell_sandbox::MailServer;
use postbell_testkit::MemorySessions;
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::test_platform::TestPlatform;

/// The pages of a test platform, with a relay in the same process.
pub(crate) struct TestPages {
    pub(crate) world: TestPlatform,
    pub(crate) queue: Arc<dyn DeliveryQueue>,
    pub(crate) log: Arc<dyn DeliveryLog>,
    pub(crate) sessions: Arc<MemorySessions>,
    pub(crate) pages: Pages,
    url: String,
}

impl TestPages {
    pub(crate) async fn new() -> Self {
        Self::at(
            "http://bell.example.com",
            TestPlatform::new().await,
            SignInWays::default(),
        )
    }

    /// Pages of an operator with a mail server for addresses alone.
    pub(crate) async fn with_mail_server(server: &MailServer) -> Self {
        let url = format!("smtp://{}?tls=none&from=bell@example.com", server.address());
        let mut pages = Self::new().await;
        pages.start_again(SignInWays {
            mail_server: Some(url.parse().unwrap()),
            ..SignInWays::default()
        });
        pages
    }

    /// Restarts the pages with another configuration.
    pub(crate) fn start_again(&mut self, ways: SignInWays) {
        let sessions = Arc::clone(&self.sessions);
        let relay = (Arc::clone(&self.queue), Arc::clone(&self.log));
        self.pages = pages(&self.url, &self.world, relay, &sessions, ways);
    }

    pub(crate) fn at(url: &str, world: TestPlatform, ways: SignInWays) -> Self {
        let store = Arc::new(world.operated.deliveries.clone());
        let queue: Arc<dyn DeliveryQueue> = Arc::clone(&store) as _;
        let log: Arc<dyn DeliveryLog> = store;
        let sessions = Arc::new(world.operated.sessions.clone());
        let relay = (Arc::clone(&queue), Arc::clone(&log));
        let pages = pages(url, &world, relay, &sessions, ways);
        Self {
            world,
            queue,
            log,
            sessions,
            pages,
            url: url.to_owned(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.world.now()
    }

    /// Notifies the pages of a change of a user.
    pub(crate) fn changed(&self, user: &str) {
        self.world.changes.announce(&user.parse().unwrap());
    }

    /// The path of a new sign-in link.
    pub(crate) async fn link(&self, user: Option<&str>, operator: bool) -> String {
        self.link_of(&Who {
            user: user.map(|user| user.parse().unwrap()),
            operator: operator.then(|| "op".to_owned()),
            is_viewer: false,
        })
        .await
    }

    /// The path of a new sign-in link of an operator who may only look.
    pub(crate) async fn viewer_link(&self) -> String {
        self.link_of(&Who {
            user: None,
            operator: Some("guest".to_owned()),
            is_viewer: true,
        })
        .await
    }

    async fn link_of(&self, who: &Who) -> String {
        let links = links(&self.sessions, &self.url);
        let link = links.issue(who, Duration::from_secs(60), self.now()).await;
        let link = link.unwrap().expose_secret().to_owned();
        link.strip_prefix(&self.url).unwrap().to_owned()
    }

    /// A browser without a session.
    pub(crate) fn browser(&self) -> Browser {
        Browser {
            router: self.pages.around(self.world.router.clone()),
            cookies: Mutex::default(),
        }
    }

    /// A browser with a session.
    pub(crate) async fn signed_in(&self, user: Option<&str>, operator: bool) -> Browser {
        let browser = self.browser();
        let link = self.link(user, operator).await;
        let answer = browser.post(&link, &[]).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        browser
    }
}

fn pages(
    url: &str,
    world: &TestPlatform,
    (queue, log): (Arc<dyn DeliveryQueue>, Arc<dyn DeliveryLog>),
    sessions: &Arc<MemorySessions>,
    ways: SignInWays,
) -> Pages {
    let secret = "a secret of the tests".into();
    Pages::new(PagesParts {
        users: Arc::clone(&world.users),
        mailboxes: Arc::clone(&world.mailboxes),
        relay: Some(LocalRelay {
            queue,
            log,
            arrivals: Arc::new(Notify::new()),
            url: "https://push.example.com".to_owned(),
        }),
        changes: world.changes.clone(),
        links: links(sessions, url),
        cipher: CookieCipher::new(&secret),
        operator: Arc::clone(&world.operator),
        google: ways.google,
        issuer: ways.issuer,
        access: ways.access,
        alerts: UserTargets {
            targets: Arc::clone(&world.alerts) as _,
            client: AlertClient::new(Reach::Anywhere, Arc::new(SystemClock::new()))
                .unwrap()
                .with_mail_server(ways.mail_server),
        },
    })
}

fn links(sessions: &Arc<MemorySessions>, url: &str) -> SignInLinks {
    SignInLinks {
        sessions: Arc::clone(sessions) as Arc<dyn Sessions>,
        random: system_random(),
        url: url.parse().unwrap(),
    }
}

/// How people sign in, and get mail.
#[derive(Default)]
pub(crate) struct SignInWays {
    pub(crate) mail_server: Option<postbell_alerts::MailServer>,
    pub(crate) google: Option<SignIn>,
    pub(crate) issuer: Option<IssuerSignIn>,
    pub(crate) access: SignInAccess,
}

/// A browser with its cookies.
pub(crate) struct Browser {
    router: Router,
    cookies: Mutex<BTreeMap<String, String>>,
}

/// The response of a page.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn leads_to(&self) -> &str {
        let location = self.headers.get(header::LOCATION);
        location.map_or("", |location| location.to_str().unwrap())
    }
}

impl Browser {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], String::new()).await
    }

    /// Sends a form as from one of our pages.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let from = [("sec-fetch-site", "same-origin")];
        self.send(Method::POST, path, &from, form(fields)).await
    }

    /// Sends a form with the token of the page at `page`.
    pub(crate) async fn submit(&self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.form_token(page).await;
        let fields = [fields, &[("form_token", &*token)]].concat();
        self.post(path, &fields).await
    }

    pub(crate) async fn form_token(&self, page: &str) -> String {
        let body = self.get(page).await.body;
        let (_, rest) = body.split_once("name=\"form_token\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let cookies: Vec<_> = self
            .cookies
            .lock()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = request.header(header::COOKIE, cookies.join("; "));
        let request = request.body(Body::from(body)).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        self.keep(&parts.headers);
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    fn keep(&self, headers: &HeaderMap) {
        for cookie in headers.get_all(header::SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies
                .lock()
                .insert(name.to_owned(), value.to_owned());
        }
    }

    pub(crate) fn cookies(&self) -> BTreeMap<String, String> {
        self.cookies.lock().clone()
    }

    pub(crate) fn with_cookies(&self, cookies: BTreeMap<String, String>) {
        *self.cookies.lock() = cookies;
    }

    /// The body of an endless response.
    pub(crate) async fn stream(&self, path: &str) -> (u16, axum::body::BodyDataStream) {
        let cookies: Vec<_> = self
            .cookies
            .lock()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = Request::get(path).header(header::COOKIE, cookies.join("; "));
        let answer = self
            .router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        (
            answer.status().as_u16(),
            answer.into_body().into_data_stream(),
        )
    }
}

pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields).finish()
}
