/// What the service answers with; each is a component of `/openapi.json`, described here and nowhere else.
enum Resource: String, CaseIterable, Sendable {
    case problem = "Problem"
    case violation = "Violation"
    case job = "Job"
    case jobPage = "JobPage"
    case dryRun = "DryRun"
    case reason = "Reason"
    case progress = "Progress"
    case seriesSummary = "SeriesSummary"
    case checkpoint = "Checkpoint"
    case checkpointPage = "CheckpointPage"
    case artifact = "Artifact"
    case artifactPage = "ArtifactPage"
    case event = "Event"
    case eventPage = "EventPage"
    case curve = "Curve"
    case curves = "Curves"
    case comparison = "Comparison"
    case verdict = "Verdict"
    case profile = "Profile"
    case model = "Model"
    case modelPage = "ModelPage"
    case modelDetail = "ModelDetail"
    case prediction = "Prediction"
    case dataset = "Dataset"
    case datasetPage = "DatasetPage"
    case datasetFile = "DatasetFile"
    case webhook = "Webhook"
    case newWebhook = "NewWebhook"
    case webhookPage = "WebhookPage"
    case webhookDelivery = "WebhookDelivery"
    case webhookDeliveryDetail = "WebhookDeliveryDetail"
    case webhookDeliveryPage = "WebhookDeliveryPage"
    case logLevel = "LogLevel"
    case system = "System"
    case health = "Health"
    case session = "Session"

    /// Its schema.
    var shape: Shape {
        switch self {
        case .problem: Self.problemShape
        case .violation: Self.violationShape
        case .job: Self.jobShape
        case .jobPage: Self.page(of: .job)
        case .dryRun: Self.dryRunShape
        case .reason: Self.reasonShape
        case .progress: Self.progressShape
        case .seriesSummary: Self.seriesSummaryShape
        case .checkpoint: Self.checkpointShape
        case .checkpointPage: Self.page(of: .checkpoint)
        case .artifact: Self.artifactShape
        case .artifactPage: Self.page(of: .artifact)
        case .event: Self.eventShape
        case .eventPage: Self.page(of: .event)
        case .curve: Self.curveShape
        case .curves: Self.curvesShape
        case .comparison: Self.comparisonShape
        case .verdict: Self.verdictShape
        case .profile: Self.profileShape
        case .model: Self.modelShape
        case .modelPage: Self.page(of: .model)
        case .modelDetail: Self.modelDetailShape
        case .prediction: Self.predictionShape
        case .dataset: Self.datasetShape
        case .datasetPage: Self.page(of: .dataset)
        case .datasetFile: Self.datasetFileShape
        case .webhook: Self.webhookShape
        case .newWebhook: Self.newWebhookShape
        case .webhookPage: Self.page(of: .webhook)
        case .webhookDelivery: Self.webhookDeliveryShape
        case .webhookDeliveryDetail: Self.webhookDeliveryDetailShape
        case .webhookDeliveryPage: Self.page(of: .webhookDelivery)
        case .logLevel: Self.logLevelShape
        case .system: Self.systemShape
        case .health: Self.healthShape
        case .session: Self.sessionShape
        }
    }

    private static func page(of element: Resource) -> Shape {
        .object(
            "One page of a list.",
            [
                "object": .constant("list"), "data": .array(of: .resource(element)),
                "has_more": .flag.about("Whether another page follows."),
                "next_cursor": .text.orNull.about("The `after` of the next page."),
            ])
    }

    private static let problemShape = Shape.object(
        "An error (RFC 9457); some have further members, as the conflict with a state has `state`.",
        [
            "type": .text, "title": .text, "status": .integer,
            "code": .text.about("The stable name of the error, in snake_case."),
            "detail": .text.about("What happened, for people; may be reworded."),
            "errors": .array(of: .resource(.violation)).about(
                "All that is wrong with the body or the query."),
        ], optional: ["errors"], isOpen: true)

    private static let violationShape = Shape.object(
        "One thing wrong with a body or a query.",
        [
            "pointer": .text.about("Where: a JSON pointer (RFC 6901), or `?` and a parameter's name."),
            "code": .text.about("The stable name of the kind of fault."), "detail": .text,
        ])
}
