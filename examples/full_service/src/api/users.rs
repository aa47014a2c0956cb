//! `/api/v1/users`.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tracing::info;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    ApiState,
    envelope::{Context, Entity, Envelope},
    extract::{FromObject, Id, IfMatch, IfNoneMatch, Paging, Valid},
    fields::Object,
    openapi::{BodyProblems, ListProblems, Problems},
    problem::{Details, Problem},
};
use crate::store::{Change, NewUser, User};

const LONGEST_EMAIL: usize = 320;
const LONGEST_NAME: usize = 200;

/// A user as clients write one.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserBody {
    /// One `@` with something on both sides, and neither spaces nor control characters.
    #[schema(max_length = 320, example = "ada@example.com")]
    #[schema(pattern = r"^[^@\u0000-\u0020\u007f-\u00a0]+@[^@\u0000-\u0020\u007f-\u00a0]+$")]
    email: String,
    /// The name, without control characters. Spaces around it are dropped.
    #[schema(min_length = 1, max_length = 200, example = "Ada Lovelace")]
    #[schema(
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000][^\u0000-\u001f\u007f-\u009f]*$"
    )]
    name: String,
}

pub fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, update, remove))
}

/// Creates a user.
///
/// No two users have the same email address.
#[utoipa::path(
    post,
    path = "/api/v1/users",
    tag = "users",
    operation_id = "createUser",
    request_body = UserBody,
    responses(
        (status = 201, description = "The user has been created.", body = Envelope<User>, headers(
            ("Location" = String, description = "The path of the user."),
            ("ETag" = String, description = "The version of the user."),
        ), links(
            ("placeOrder" = (
                operation_id = "createOrder",
                request_body = json!({ "user_id": "$response.body#/data/id" }),
                description = "The user places an order.",
            )),
        )),
        (status = 409, description = "Another user has this email address.",
            body = Details, content_type = "application/problem+json"),
        BodyProblems,
        Problems,
    )
)]
async fn create(
    State(api): State<ApiState>,
    context: Context,
    Valid { value, .. }: Valid<UserBody>,
) -> Result<Response, Problem> {
    let user = api.store.create_user(&value.into()).await?;
    info!(user = %user.id, "user created");
    Ok(context.created(&user, false))
}

/// Lists users, from the oldest to the newest.
///
/// `links.next` leads to the next page; users who are created meanwhile come last.
#[utoipa::path(
    get,
    path = "/api/v1/users",
    tag = "users",
    operation_id = "listUsers",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100,
            description = "The most users on the page: 20 if it is not given."),
        ("cursor" = Option<String>, Query, pattern = "^[0-9a-f]{32}$",
            description = "`meta.next_cursor` of the page before."),
    ),
    responses(
        (status = 200, description = "A page of users.", body = Envelope<Vec<User>>),
        ListProblems,
        Problems,
    )
)]
async fn list(
    State(api): State<ApiState>,
    context: Context,
    paging: Paging,
) -> Result<Response, Problem> {
    let users = api.store.users(paging.after, paging.limit + 1).await?;
    Ok(context.page(users, &paging, &[]))
}

/// Shows a user.
///
/// The `ETag` is the version, for `If-Match` and `If-None-Match`.
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}",
    tag = "users",
    operation_id = "showUser",
    params(
        ("id" = Uuid, Path, description = "The id of the user."),
        ("If-None-Match" = Option<String>, Header, nullable = false,
            description = "The `ETag` of the version that the client has."),
    ),
    responses(
        (status = 200, description = "The user.", body = Envelope<User>, headers(
            ("ETag" = String, description = "The version of the user."),
        )),
        (status = 304, description = "The client has the current version.", headers(
            ("ETag" = String, description = "The version of the user."),
        )),
        (status = 404, description = "There is no such user.",
            body = Details, content_type = "application/problem+json"),
        Problems,
    )
)]
async fn show(
    State(api): State<ApiState>,
    context: Context,
    Id(id): Id,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    context.entity_unless(api.store.user(id).await?, &known)
}

/// Replaces a user.
///
/// With `If-Match` no change of another client is overwritten.
#[utoipa::path(
    put,
    path = "/api/v1/users/{id}",
    tag = "users",
    operation_id = "replaceUser",
    params(
        ("id" = Uuid, Path, description = "The id of the user."),
        ("If-Match" = Option<String>, Header, nullable = false,
            description = "The `ETag` of the version to replace. Without it any version is replaced."),
    ),
    request_body = UserBody,
    responses(
        (status = 200, description = "The user has been replaced.", body = Envelope<User>, headers(
            ("ETag" = String, description = "The version of the user."),
        )),
        (status = 404, description = "There is no such user.",
            body = Details, content_type = "application/problem+json"),
        (status = 409, description = "Another user has this email address.",
            body = Details, content_type = "application/problem+json"),
        (status = 412, description = "The user has another version.",
            body = Details, content_type = "application/problem+json"),
        BodyProblems,
        Problems,
    )
)]
async fn update(
    State(api): State<ApiState>,
    context: Context,
    Id(id): Id,
    expected: IfMatch,
    Valid { value, .. }: Valid<UserBody>,
) -> Result<Response, Problem> {
    let expected = expected.expected(|| version(&api, id)).await?;
    let change = api.store.update_user(id, &value.into(), expected).await?;
    Ok(context.entity(&done(change)?))
}

/// Deletes a user.
///
/// A user who has orders stays.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{id}",
    tag = "users",
    operation_id = "deleteUser",
    params(
        ("id" = Uuid, Path, description = "The id of the user."),
        ("If-Match" = Option<String>, Header, nullable = false,
            description = "The `ETag` of the version to delete. Without it any version is deleted."),
    ),
    responses(
        (status = 204, description = "The user has been deleted."),
        (status = 404, description = "There is no such user.",
            body = Details, content_type = "application/problem+json"),
        (status = 409, description = "The user has orders.",
            body = Details, content_type = "application/problem+json"),
        (status = 412, description = "The user has another version.",
            body = Details, content_type = "application/problem+json"),
        Problems,
    )
)]
async fn remove(
    State(api): State<ApiState>,
    Id(id): Id,
    expected: IfMatch,
) -> Result<Response, Problem> {
    let expected = expected.expected(|| version(&api, id)).await?;
    done(api.store.delete_user(id, expected).await?)?;
    info!(user = %id, "user deleted");
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn version(api: &ApiState, id: Uuid) -> Result<Option<i64>, Problem> {
    let user = api.store.user(id).await?;
    Ok(user.map(|user| user.version))
}

/// Returns the changed resource, or the reason why it is not changed.
pub fn done<T>(change: Change<T>) -> Result<T, Problem> {
    match change {
        Change::Done(changed) => Ok(changed),
        Change::Missing => Err(Problem::not_found()),
        Change::Stale => Err(Problem::stale()),
        Change::Refused(code) => Err(Problem::conflict(code)),
    }
}

impl Entity for User {
    const PATH: &'static str = "/api/v1/users";

    fn id(&self) -> Uuid {
        self.id
    }

    fn version(&self) -> i64 {
        self.version
    }
}

impl FromObject for UserBody {
    fn from_object(object: &mut Object<'_>) -> Option<Self> {
        let email = object.text("email", email);
        let name = object.text("name", name);
        Some(Self {
            email: email?,
            name: name?,
        })
    }
}

impl From<UserBody> for NewUser {
    fn from(body: UserBody) -> Self {
        Self {
            email: body.email,
            name: body.name,
        }
    }
}

fn email(text: &str) -> Result<String, (&'static str, &'static str)> {
    if text.chars().count() > LONGEST_EMAIL {
        return Err(("too-long", "must have at most 320 characters"));
    }
    let valid = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    let blank = |c: char| c.is_control() || matches!(c, ' ' | '\u{a0}');
    match valid && !text.contains(blank) {
        true => Ok(text.to_owned()),
        false => Err(("not-an-email", "must be an email address")),
    }
}

fn name(text: &str) -> Result<String, (&'static str, &'static str)> {
    if text.contains(char::is_control) {
        return Err(("control-character", "must have no control characters"));
    }
    match text.trim() {
        "" => Err(("empty", "must not be empty")),
        name if name.chars().count() > LONGEST_NAME => {
            Err(("too-long", "must have at most 200 characters"))
        }
        name => Ok(name.to_owned()),
    }
}
