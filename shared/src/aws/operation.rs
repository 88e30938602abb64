//! Operations of the SDK: its serializer and deserializer for each, over our own transport.

use std::error::Error;
use std::fmt::Debug;

use aws_smithy_runtime_api::client::interceptors::context;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_runtime_api::client::runtime_plugin::RuntimePlugin;
use aws_smithy_runtime_api::client::ser_de::{
    DeserializeResponse as _, SerializeRequest as _, SharedRequestSerializer, SharedResponseDeserializer,
};
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::error::operation::BuildError;

use super::{BoxError, Service, is_timeout};

/// An operation's input, with the SDK's types for the rest of the call.
pub(crate) trait Request: Debug + Send + Sync + 'static {
    /// The SDK's operation, which serializes the request and deserializes the response.
    type Operation: RuntimePlugin + Default;
    /// The response of a successful call.
    type Output: Debug + Send + Sync + 'static;
    /// The errors that the operation declares.
    type Error: Error + Debug + Send + Sync + 'static;
}

/// Implements [`Request`] for inputs of the SDK: `Input: Operation => Output, Error;`.
macro_rules! impl_requests {
    ($($input:ty: $operation:ty => $output:ty, $error:ty;)+) => {
        $(impl $crate::aws::Request for $input {
            type Operation = $operation;
            type Output = $output;
            type Error = $error;
        })+
    };
}
pub(crate) use impl_requests;

impl Service {
    /// Sends a request, once.
    ///
    /// # Errors
    /// [`SdkError`], as the SDK's own clients return it; after some, nobody knows whether a write took effect.
    pub(crate) async fn send<R: Request>(
        &self,
        request: Result<R, BuildError>,
    ) -> Result<R::Output, SdkError<R::Error, HttpResponse>> {
        let input = context::Input::erase(request.map_err(SdkError::construction_failure)?);
        let mut operation = ConfigBag::base();
        if let Some(layer) = R::Operation::default().config() {
            operation.push_shared_layer(layer);
        }
        let request = serialize(input, &mut operation).map_err(SdkError::construction_failure)?;
        let request = self.sign(request).map_err(SdkError::construction_failure)?;
        let answer = self.execute(request).await.map_err(map_transport_error)?;
        deserialize::<R>(answer, &operation)
    }
}

fn serialize(input: context::Input, operation: &mut ConfigBag) -> Result<HttpRequest, BoxError> {
    let serializer = operation.load::<SharedRequestSerializer>().ok_or("an operation without a serializer")?.clone();
    serializer.serialize_input(input, operation)
}

fn map_transport_error<E>(error: BoxError) -> SdkError<E, HttpResponse> {
    match is_timeout(&error) {
        true => SdkError::timeout_error(error),
        false => SdkError::dispatch_failure(ConnectorError::io(error)),
    }
}

#[expect(clippy::result_large_err, reason = "it is the error of `Service::send`, which returns it at once")]
fn deserialize<R: Request>(
    answer: HttpResponse,
    operation: &ConfigBag,
) -> Result<R::Output, SdkError<R::Error, HttpResponse>> {
    let Some(deserializer) = operation.load::<SharedResponseDeserializer>() else {
        return Err(SdkError::construction_failure("an operation without a deserializer"));
    };
    let error = match deserializer.deserialize_nonstreaming_with_config(&answer, operation) {
        Ok(output) => {
            let output = output.downcast::<R::Output>();
            return output.map_err(|_| SdkError::response_error("an answer of another operation", answer));
        }
        Err(error) => error,
    };
    let mut refusal = None;
    let error = error.map_operation_error(|error| refusal = error.downcast::<R::Error>().ok());
    Err(match refusal {
        Some(refusal) => SdkError::service_error(refusal, answer),
        None => SdkError::response_error(format!("{error:?}"), answer),
    })
}

/// A short, loggable reason for a failed call: the service's error code, or the stage that failed.
pub(crate) fn error_code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    let stage = match error {
        SdkError::ConstructionFailure(_) => "request not built",
        SdkError::TimeoutError(_) => "timeout",
        SdkError::DispatchFailure(_) => "unreachable",
        SdkError::ResponseError(_) => "unreadable answer",
        SdkError::ServiceError(_) => "refused",
        _ => "failed",
    };
    error.code().map_or_else(|| stage.to_owned(), str::to_owned)
}
