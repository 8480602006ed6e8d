//! Route paths and header names (protocol, sections 1 to 5).

/// Relay: pushes of one shared subscription (section 1).
pub const PUSH_SHARED: &str = "/push/gmail";
/// Relay: pushes of a user's own subscription, authenticated by Google's OIDC token (section 1).
pub const PUSH_USER: &str = "/push/user/{user}";
/// Relay: pushes of a user's own subscription, authenticated by a token in the URL (section 1).
pub const PUSH_USER_TOKEN: &str = "/push/user/{user}/{token}";
/// Relay: forgets what it has cached of a user (section 2).
pub const RELAY_FORGET: &str = "/api/relay/forget";

/// Platform: everything that a relay needs of a user (section 2).
pub const LOOKUP: &str = "/api/platform/lookup";
/// Platform: one user's record (section 2).
pub const STATUS: &str = "/api/platform/status";
/// Platform: the gateway token of a user's machine (section 2).
pub const GATEWAY_TOKEN: &str = "/api/platform/gateway-token";
/// Platform: the service account of a user's push subscription (section 2).
pub const OIDC_EMAIL: &str = "/api/platform/gmail-oidc-email";
/// Platform: finds a user by a mail address (section 2).
pub const USER_BY_EMAIL: &str = "/api/platform/user-by-email";
/// Platform: finds a user by the machine's sandbox id (section 2).
pub const USER_BY_SANDBOX: &str = "/api/platform/user-by-sandbox";
/// Platform: reports a delivered history id (section 2).
pub const HISTORY_ID: &str = "/api/platform/gmail-history-id";
/// Platform: turns notifications on and off (section 2).
pub const NOTIFICATIONS: &str = "/api/platform/gmail-notifications";
/// Platform: connects and disconnects a Google account (section 2).
pub const GOOGLE_CREDENTIALS: &str = "/api/platform/google-credentials";
/// Platform: starts a user's machine (section 2).
pub const WAKE: &str = "/api/platform/wake";
/// Platform: reports that a machine is running (section 2).
pub const RUNNING: &str = "/api/platform/running";
/// Platform and relay: a machine's check-in (section 2).
pub const CHECK_IN: &str = "/api/controller/checkin";
/// Platform: the configuration of a machine, for its controller (section 2).
pub const MACHINE_CONFIG: &str = "/api/controller/config";
/// The sandbox id of the machine that asks for its configuration (section 2).
pub const SANDBOX_ID: &str = "x-postbell-sandbox-id";

/// The header in which a machine that fetches its configuration says that it watches several accounts, with the value
/// [`SEVERAL`].
pub const ACCOUNTS: &str = "x-postbell-accounts";

/// The value of [`ACCOUNTS`].
pub const SEVERAL: &str = "several";
/// Platform: the key that credentials are encrypted for, for setup tools (section 2).
pub const ADMIN_PUBLIC_KEY: &str = "/api/admin/public-key";
/// Platform: the Google account of a setup tool's user (section 2).
pub const ADMIN_GOOGLE_CREDENTIALS: &str = "/api/admin/google-credentials";

/// Platform: the API for operators (section 2).
pub const OPERATOR_USERS_LIST: &str = "/api/operator/users/list";
/// Shows a user.
pub const OPERATOR_USERS_SHOW: &str = "/api/operator/users/show";
/// Adds a user.
pub const OPERATOR_USERS_ADD: &str = "/api/operator/users/add";
/// Changes a user.
pub const OPERATOR_USERS_CHANGE: &str = "/api/operator/users/change";
/// Removes a user.
pub const OPERATOR_USERS_REMOVE: &str = "/api/operator/users/remove";
/// Adds users from CSV.
pub const OPERATOR_USERS_IMPORT: &str = "/api/operator/users/import";
/// Shows what the machine of a user needs.
pub const OPERATOR_USERS_MACHINE: &str = "/api/operator/users/machine";
/// Invites a user.
pub const OPERATOR_INVITATIONS_ADD: &str = "/api/operator/invitations/add";
/// Issues a sign-in link.
pub const OPERATOR_LINKS_ADD: &str = "/api/operator/links/add";
/// Lists invitations and links that were not used.
pub const OPERATOR_LINKS_LIST: &str = "/api/operator/links/list";
/// Revokes an invitation or a link.
pub const OPERATOR_LINKS_REVOKE: &str = "/api/operator/links/revoke";
/// Ends sessions.
pub const OPERATOR_SIGN_OUT: &str = "/api/operator/sessions/end";
/// Issues a user's token.
pub const OPERATOR_TOKENS_ADD: &str = "/api/operator/tokens/add";
/// Lists API keys and users' tokens.
pub const OPERATOR_TOKENS_LIST: &str = "/api/operator/tokens/list";
/// Revokes an API key or a user's token.
pub const OPERATOR_TOKENS_REVOKE: &str = "/api/operator/tokens/revoke";
/// Lists a user's latest deliveries.
pub const OPERATOR_DELIVERIES_LIST: &str = "/api/operator/deliveries/list";
/// Lists dead letters.
pub const OPERATOR_DEAD_LETTERS_LIST: &str = "/api/operator/dead-letters/list";
/// Delivers dead letters again.
pub const OPERATOR_DEAD_LETTERS_REPLAY: &str = "/api/operator/dead-letters/replay";
/// Deletes dead letters.
pub const OPERATOR_DEAD_LETTERS_DROP: &str = "/api/operator/dead-letters/drop";
/// Lists entries of the audit log.
pub const OPERATOR_AUDIT_LIST: &str = "/api/operator/audit/list";

/// Controller: takes a push for the watcher (sections 3 and 4).
pub const CONTROLLER_PUSH: &str = "/_kilo/gmail-pubsub";
/// Controller: the phase of its start (section 4).
pub const CONTROLLER_HEALTH: &str = "/_kilo/health";
/// Controller: its version and its processes (section 4).
pub const CONTROLLER_VERSION: &str = "/_kilo/version";
/// Controller: its metrics and those of the watcher (section 4).
pub const CONTROLLER_METRICS: &str = "/_kilo/metrics";
/// Controller: the gateway's process (section 4).
pub const GATEWAY_STATUS: &str = "/_kilo/gateway/status";
/// Controller: starts the gateway (section 4).
pub const GATEWAY_START: &str = "/_kilo/gateway/start";
/// Controller: stops the gateway (section 4).
pub const GATEWAY_STOP: &str = "/_kilo/gateway/stop";
/// Controller: restarts the gateway (section 4).
pub const GATEWAY_RESTART: &str = "/_kilo/gateway/restart";
/// Controller: asks the gateway whether it is ready (section 4).
pub const GATEWAY_READY: &str = "/_kilo/gateway/ready";
/// Controller: fetches its configuration from the platform (section 4).
pub const CONTROLLER_RELOAD: &str = "/_kilo/reload";

/// Watcher: takes a push from the controller (section 5).
pub const WATCHER_PUSH: &str = "/gmail-pubsub";
/// Watcher: replaces the accounts that it watches (section 5).
pub const WATCHER_ACCOUNTS: &str = "/accounts";
/// Bot: the webhook of the machine's gateway (section 4).
pub const GATEWAY_WEBHOOK: &str = "/hooks/gmail";

/// Authenticates relay and platform to each other.
pub const INTERNAL_API_KEY: &str = "x-internal-api-key";
/// Authenticates a machine in its check-in, as KiloClaw's controller does: its bearer token is an API key.
pub const MACHINE_TOKEN: &str = "x-kiloclaw-gateway-token";
/// Tells Fly's proxy which machine of the app a request is for.
pub const FORCE_INSTANCE_ID: &str = "fly-force-instance-id";
/// Authenticates the controller to the watcher.
pub const GOG_TOKEN: &str = "x-gog-token";
/// Authenticates a caller of the gateway to the controller.
pub const PROXY_TOKEN: &str = "x-kiloclaw-proxy-token";
/// The Pub/Sub message id of an unwrapped push.
pub const PUBSUB_MESSAGE_ID: &str = "x-goog-pubsub-message-id";
/// The time at which Pub/Sub received the message of an unwrapped push.
pub const PUBSUB_PUBLISH_TIME: &str = "x-goog-pubsub-publish-time";
/// The same on every repeat of a webhook request.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Where Google redirects a user who connects in the browser; the operator registers it for the OAuth client.
pub const CONNECT_CALLBACK: &str = "/bot/google/back";
