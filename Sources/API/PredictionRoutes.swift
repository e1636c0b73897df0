import HTTP
import JSON
import Jobs

/// Asking stored models.
struct PredictionRoutes: Sendable {
    let jobs: JobService
    let predictor: any ModelPredictor

    /// Samples are longer than other bodies.
    private static let byteCountMax = 8 << 20
    /// Longer than any predictor takes; the connection sleeps meanwhile.
    private static let seconds = 90.0

    var operations: [Operation] {
        [
            Operation(
                "predict", "What a model makes of a prompt, of texts or of samples.", .models,
                Route(
                    .post, "/v1/models/{id}/predict", access: .requires(.submit), query: [],
                    body: .json(byteCountMax: Self.byteCountMax), reply: predict),
                path: [.model], body: RequestBody(component: OpenAPIDocument.predictionRequest),
                answers: [.json("What it made of them.", .prediction)],
                refusals: [.conflict, .insufficientStorage])
        ]
    }

    /// What the model makes of a prompt, of texts or of samples.
    ///
    /// 400 `malformed_json`; 404 `model_not_found`; 409 `model_unusable`; 422 with every violation; 503
    /// `predictions_busy`, `deadline_exceeded` or `draining`; 507 `insufficient_memory`.
    private func predict(_ request: Request) throws -> Reply {
        let id = try request.modelID()
        let model = try Problem.translating { () throws(JobError) in
            try jobs.repositories.models.model(id)
        }
        let prediction = predictor.predict(request.body, with: model)
        return .later(
            Wait(seconds: Self.seconds, subscribe: { prediction.subscribe($0) }) { isLast in
                switch prediction.outcome {
                case .success(let answer): return .json(answer)
                case .failure(let error): throw Problem(error)
                case nil:
                    guard isLast else { return nil }
                    throw Problem(PredictionError.tooSlow(seconds: Self.seconds))
                }
            })
    }
}

extension Problem {
    /// What a client is told of a prediction that failed.
    fileprivate init(_ error: PredictionError) {
        switch error {
        case .malformed: self.init(.badRequest, error.code, error.description)
        case .invalid(let violations): self.init(InvalidInput(violations))
        case .modelUnusable(_, let cause):
            self.init(.conflict, error.code, error.description)
            self.cause = cause
        case .modelTooLarge: self.init(.insufficientStorage, error.code, error.description)
        case .busy, .draining:
            self.init(.serviceUnavailable, error.code, error.description, headers: ["Retry-After": "5"])
        case .tooSlow: self.init(.serviceUnavailable, error.code, error.description)
        }
    }
}
