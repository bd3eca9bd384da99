//! What a store answers, in words that say what to do. The crate's own text names URLs, which may be signed,
//! and quotes answers, which may repeat what was signed: only what is known to be harmless is taken of it.

use std::error::Error as StdError;

use object_store::Error;

use super::store::Kind;

/// What is said when not all answers are of the same object.
pub(super) const CHANGED: &str = "it was changed while it was read; load it again";

/// Where credentials are looked for when none are given: the machine of a cloud has them.
const METADATA_SERVERS: [&str; 4] =
    ["169.254.169.254", "169.254.170.2", "metadata.google.internal", "/latest/api/token"];

/// Why a request failed, and what to do.
pub(super) fn explain(kind: Kind, error: &Error) -> String {
    let text = error.to_string();
    let code = code(&text);
    let credentials = credentials(kind);
    if METADATA_SERVERS.iter().any(|server| text.contains(server)) {
        return format!("there are no credentials: {credentials}");
    }
    match (error, code) {
        (_, Some("NoSuchBucket" | "ContainerNotFound" | "InvalidBucketName")) => {
            "there is no such bucket, or not at this endpoint".to_owned()
        }
        (Error::NotFound { .. }, _) => "there is no such object".to_owned(),
        (Error::Precondition { .. } | Error::NotModified { .. }, _) => CHANGED.to_owned(),
        (_, Some(code @ ("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired"))) => {
            format!("the credentials have expired ({code}): {credentials}")
        }
        (_, Some("RequestTimeTooSkewed")) => "this machine's clock is wrong (RequestTimeTooSkewed)".to_owned(),
        (
            _,
            Some(
                code @ ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "AuthenticationFailed"
                | "InvalidSecurity" | "InvalidAuthenticationInfo"),
            ),
        ) => format!("the credentials are wrong ({code}): {credentials}"),
        (_, Some(code @ ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException"))) => {
            format!("the bucket is in another region ({code}): set AWS_REGION")
        }
        (Error::PermissionDenied { .. }, code) => match kind {
            Kind::Http => "access is denied (403)".to_owned(),
            _ => format!(
                "access is denied ({}): the credentials may not read it, or it does not exist",
                code.unwrap_or("403")
            ),
        },
        (Error::Unauthenticated { .. }, code) => match kind {
            Kind::Http => "it wants a login (401), which a URL cannot give".to_owned(),
            _ => format!("the credentials are not accepted ({}): {credentials}", code.unwrap_or("401")),
        },
        _ if text.contains("normally indicates an incorrectly configured region") => {
            "the bucket is in another region: set AWS_REGION".to_owned()
        }
        _ if text.contains("non-partial response") || text.contains("Content-Range header not present") => {
            "the server cannot send a part of it, so reading cannot go on after a broken connection".to_owned()
        }
        _ if text.contains("Content-Length") => {
            "the server does not say how long it is; fetch it with another program, and give it on standard input"
                .to_owned()
        }
        _ if text.contains("URL scheme is not allowed") => {
            "the endpoint is not https; allow that with AWS_ALLOW_HTTP, GOOGLE_ALLOW_HTTP or AZURE_ALLOW_HTTP=true"
                .to_owned()
        }
        (_, Some(code)) => format!("the server answers {code}"),
        _ => match status(&text) {
            Some(status) => format!("the server answers {status}"),
            None => cause(error),
        },
    }
}

/// How credentials are given.
fn credentials(kind: Kind) -> &'static str {
    match kind {
        Kind::S3 => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (profiles are not read), or AWS_SKIP_SIGNATURE=true \
             for a public bucket"
        }
        Kind::Google => {
            "set GOOGLE_APPLICATION_CREDENTIALS to a file of credentials, or GOOGLE_SKIP_SIGNATURE=true for a \
             public bucket"
        }
        Kind::Azure => {
            "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_SKIP_SIGNATURE=true for a \
             public container"
        }
        Kind::Http => "the URL itself must give access",
    }
}

/// The code in an answer of S3, Google or Azure.
fn code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    (!code.is_empty() && code.len() <= 60 && code.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(code)
}

/// The status of an answer without a code.
fn status(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("status code: ")?;
    let status = rest.split(':').next()?.trim();
    status.starts_with(|c: char| c.is_ascii_digit()).then_some(status)
}

/// The first cause: what the network said, say.
fn cause(error: &Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<serde_json::Error>() {
        // It quotes what it has found, which is meant to be a key.
        Some(e) => format!("the credentials are not the JSON that is expected, line {}", e.line()),
        None => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// An error as the crate makes them, of an answer with this status and body.
    fn answer(status: u16, body: &str) -> Error {
        let text = format!(
            "Error performing GET https://user:s3cr3t@host/a?X-Amz-Signature=s3cr3t in 1ms - Server returned \
             non-2xx status code: {status} Whatever: {body}"
        );
        let (path, source) = ("a".to_owned(), Box::new(io::Error::other(text)));
        match status {
            401 => Error::Unauthenticated { path, source },
            403 => Error::PermissionDenied { path, source },
            404 => Error::NotFound { path, source },
            412 => Error::Precondition { path, source },
            _ => Error::Generic { store: "S3", source },
        }
    }

    #[test]
    fn answers_are_explained_and_never_quoted() {
        use Kind::{Azure, Google, Http, S3};
        let coded =
            |code: &str| format!("<Error><Code>{code}</Code><StringToSign>s3cr3t</StringToSign></Error>");
        for (kind, status, body, expected) in [
            (S3, 404, coded("NoSuchKey"), "there is no such object"),
            (S3, 404, coded("NoSuchBucket"), "there is no such bucket, or not at this endpoint"),
            (Azure, 404, coded("ContainerNotFound"), "there is no such bucket, or not at this endpoint"),
            (Http, 404, "s3cr3t".to_owned(), "there is no such object"),
            (
                S3,
                403,
                coded("InvalidAccessKeyId"),
                "the credentials are wrong (InvalidAccessKeyId): set AWS_ACC",
            ),
            (
                S3,
                403,
                coded("SignatureDoesNotMatch"),
                "the credentials are wrong (SignatureDoesNotMatch): set A",
            ),
            (
                S3,
                400,
                coded("ExpiredToken"),
                "the credentials have expired (ExpiredToken): set AWS_ACCESS_KEY_ID",
            ),
            (
                S3,
                400,
                coded("AuthorizationHeaderMalformed"),
                "the bucket is in another region (AuthorizationHea",
            ),
            (S3, 403, coded("RequestTimeTooSkewed"), "this machine's clock is wrong"),
            (
                S3,
                403,
                coded("AccessDenied"),
                "access is denied (AccessDenied): the credentials may not read it",
            ),
            (S3, 403, String::new(), "access is denied (403)"),
            (
                Google,
                401,
                String::new(),
                "the credentials are not accepted (401): set GOOGLE_APPLICATION_CRED",
            ),
            (
                Azure,
                403,
                coded("AuthenticationFailed"),
                "the credentials are wrong (AuthenticationFailed): set AZ",
            ),
            (Http, 401, "s3cr3t".to_owned(), "it wants a login (401), which a URL cannot give"),
            (Http, 403, "s3cr3t".to_owned(), "access is denied (403)"),
            (S3, 412, coded("PreconditionFailed"), CHANGED),
            (S3, 503, coded("SlowDown"), "the server answers SlowDown"),
            (S3, 400, coded("s3cr3t & more"), "the server answers 400 Whatever"),
            (Http, 500, "s3cr3t".to_owned(), "the server answers 500 Whatever"),
            (
                Google,
                404,
                "http://metadata.google.internal/x".to_owned(),
                "there are no credentials: set GOOGLE_",
            ),
        ] {
            let explained = explain(kind, &answer(status, &body));
            assert!(explained.starts_with(expected), "{kind:?} {status} {body}: {explained}");
            assert!(!explained.contains("s3cr3t"), "{explained}");
        }
    }

    #[test]
    fn of_what_else_fails_the_first_cause_is_said() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = Error::Generic { store: "S3", source: Box::new(refused) };
        assert_eq!(explain(Kind::S3, &error), "connection refused");

        let key = serde_json::from_str::<u8>("\"s3cr3t\"").unwrap_err();
        let error = Error::Generic { store: "GCS", source: Box::new(key) };
        let expected = "the credentials are not the JSON that is expected, line 1";
        assert_eq!(explain(Kind::Google, &error), expected);
    }
}
