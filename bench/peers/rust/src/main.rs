//! The create endpoint in typical Rust: lambda_runtime, the AWS SDK over rustls with
//! ring, and jsonwebtoken, used as their documentation recommends.
use std::{collections::HashMap, env, sync::Arc, time::SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Region},
    error::SdkError,
    operation::put_item::PutItemError,
    types::AttributeValue,
};
use aws_smithy_http_client::{Builder, tls};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What is read of an API Gateway event (payload format 2.0).
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    headers: HashMap<String, String>,
    #[serde(default)]
    body: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    status_code: u16,
    headers: HashMap<&'static str, &'static str>,
    body: String,
}

#[derive(Deserialize)]
struct Claims {
    workspace_id: String,
    #[serde(default)]
    scope: String,
}

#[derive(Deserialize)]
struct Body {
    sync: Sync,
}

#[derive(Deserialize, Serialize)]
struct Sync {
    source_id: i64,
    destination_id: i64,
    model_id: i64,
    configuration: Map<String, Value>,
    schedule_type: String,
    sync_mode: String,
    sync_interval: i64,
    sync_interval_unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cron_expression: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor_field: Option<String>,
    stream_name: String,
}

impl Sync {
    fn valid(&self) -> bool {
        let id = |n: i64| (1..=9_007_199_254_740_991).contains(&n);
        id(self.source_id)
            && id(self.destination_id)
            && id(self.model_id)
            && self.schedule_type == "automated"
            && self.sync_mode == "full_refresh"
            && self.sync_interval_unit == "minutes"
            && (1..=527_040).contains(&self.sync_interval)
            && (1..=255).contains(&self.stream_name.trim().len())
            && self.cron_expression.as_deref().is_none_or(|c| c.split(' ').count() == 5)
    }
}

struct State {
    client: Client,
    table: String,
    keys: JwkSet,
    validation: Validation,
}

fn answer(status_code: u16, body: Value) -> Response {
    Response { status_code, headers: HashMap::from([("content-type", "application/json")]), body: body.to_string() }
}

fn refuse(status: u16, code: &str) -> Response {
    answer(status, json!({"errors": [{"status": status.to_string(), "code": code}]}))
}

impl State {
    fn caller(&self, event: &Event) -> Option<Claims> {
        let token = event.headers.get("authorization")?.strip_prefix("Bearer ")?;
        let header = jsonwebtoken::decode_header(token).ok()?;
        let key = DecodingKey::from_jwk(self.keys.find(&header.kid?)?).ok()?;
        Some(jsonwebtoken::decode::<Claims>(token, &key, &self.validation).ok()?.claims)
    }

    async fn create(&self, event: LambdaEvent<Event>) -> Result<Response, Error> {
        let event = event.payload;
        let Some(claims) = self.caller(&event) else { return Ok(refuse(401, "invalid_token")) };
        if !claims.scope.split(' ').any(|s| s == "syncs:write") {
            return Ok(refuse(403, "insufficient_scope"));
        }
        let Ok(Body { sync }) = serde_json::from_str::<Body>(&event.body) else { return Ok(refuse(400, "invalid_json")) };
        if !sync.valid() {
            return Ok(refuse(422, "invalid"));
        }
        let id = Uuid::now_v7().to_string();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis().to_string();
        let number = |n: i64| AttributeValue::N(n.to_string());
        let result = self
            .client
            .put_item()
            .table_name(&self.table)
            .condition_expression("attribute_not_exists(pk)")
            .item("pk", AttributeValue::S(claims.workspace_id))
            .item("sk", AttributeValue::S(format!("SYNC#{id}")))
            .item("source_id", number(sync.source_id))
            .item("destination_id", number(sync.destination_id))
            .item("model_id", number(sync.model_id))
            .item("configuration", AttributeValue::S(serde_json::to_string(&sync.configuration)?))
            .item("schedule_type", AttributeValue::S(sync.schedule_type.clone()))
            .item("sync_mode", AttributeValue::S(sync.sync_mode.clone()))
            .item("sync_interval", number(sync.sync_interval))
            .item("sync_interval_unit", AttributeValue::S(sync.sync_interval_unit.clone()))
            .item("cron_expression", AttributeValue::S(sync.cron_expression.clone().unwrap_or_default()))
            .item("cursor_field", AttributeValue::S(sync.cursor_field.clone().unwrap_or_default()))
            .item("stream_name", AttributeValue::S(sync.stream_name.clone()))
            .item("created_at", AttributeValue::N(now.clone()))
            .item("updated_at", AttributeValue::N(now.clone()))
            .send()
            .await;
        match result {
            Ok(_) => Ok(answer(200, json!({"id": id, "type": "syncs", "attributes": sync}))),
            Err(SdkError::ServiceError(e)) if matches!(e.err(), PutItemError::ConditionalCheckFailedException(_)) => Ok(refuse(409, "already_exists")),
            Err(e) => Err(e.into()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(env::var("AWS_REGION")?))
        .endpoint_url(env::var("AWS_ENDPOINT_URL_DYNAMODB")?)
        .credentials_provider(Credentials::new(env::var("AWS_ACCESS_KEY_ID")?, env::var("AWS_SECRET_ACCESS_KEY")?, None, None, "environment"))
        .http_client(http)
        .build();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[env::var("TOKEN_ISSUER")?]);
    validation.set_audience(&[env::var("TOKEN_AUDIENCE")?]);
    let state = Arc::new(State {
        client: Client::from_conf(config),
        table: env::var("TABLE_NAME")?,
        keys: serde_json::from_str(&env::var("TOKEN_JWKS")?)?,
        validation,
    });
    run(service_fn(move |event| {
        let state = state.clone();
        async move { state.create(event).await }
    }))
    .await
}
