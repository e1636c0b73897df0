public import HTTP
public import JSON
public import Jobs

/// What the API needs of the process around it.
public struct APIEnvironment: Sendable {
    /// Version, processor, memory, budgets: the members of `/v1/system` beside the queue.
    public var system: @Sendable () -> JSONObject
    /// What the process counts, for `/metrics`, beside the queue and the waiters.
    public var metrics: @Sendable () -> [Metric]
    /// Why the service is not ready yet; `nil` when it is.
    public var unreadiness: @Sendable () -> String?
    /// The absolute path of a model's weights (safetensors).
    public var modelFile: @Sendable (ModelRecord) -> String
    /// A model's weights with all their zeros, made while they are sent, which for HEAD they never are; nil
    /// where `modelFile` has them all.
    public var wholeModel: @Sendable (_ model: ModelRecord, _ isSent: Bool) throws -> (any ByteSource)?
    /// The absolute path of the adapters that were merged into a model.
    public var adapterFile: @Sendable (ModelRecord) -> String
    /// The absolute path of a checkpoint.
    public var checkpointFile: @Sendable (CheckpointRecord) -> String
    /// Asks stored models.
    public var predictor: any ModelPredictor
    /// Takes datasets from clients.
    public var intake: any DatasetIntake
    /// Takes models from clients.
    public var imports: any ModelIntake
    /// Tells others of jobs.
    public var webhooks: WebhookService
    /// The least that is logged.
    public var logging: any LogLevelControl
    /// Brings the table of datasets up to date; called before each look, so cheap when nothing changed.
    public var refreshDatasets: @Sendable () -> Void
    /// The first samples of a dataset of images, as clients see them; `nil` where there are none to see.
    public var datasetPreview: @Sendable (DatasetRecord) -> JSONValue?
    /// Deletes files that no record names any more; paths are as the records have them.
    public var removeFiles: @Sendable (_ paths: [String]) -> Void

    /// Makes an environment.
    public init(
        system: @escaping @Sendable () -> JSONObject,
        metrics: @escaping @Sendable () -> [Metric] = { [] },
        unreadiness: @escaping @Sendable () -> String? = { nil },
        modelFile: @escaping @Sendable (ModelRecord) -> String,
        wholeModel: @escaping @Sendable (_ model: ModelRecord, _ isSent: Bool) throws -> (any ByteSource)? = {
            _, _ in nil
        },
        adapterFile: @escaping @Sendable (ModelRecord) -> String,
        checkpointFile: @escaping @Sendable (CheckpointRecord) -> String,
        predictor: any ModelPredictor, intake: any DatasetIntake, imports: any ModelIntake,
        webhooks: WebhookService, logging: any LogLevelControl,
        refreshDatasets: @escaping @Sendable () -> Void = {},
        datasetPreview: @escaping @Sendable (DatasetRecord) -> JSONValue? = { _ in nil },
        removeFiles: @escaping @Sendable (_ paths: [String]) -> Void = { _ in }
    ) {
        (self.system, self.metrics, self.unreadiness) = (system, metrics, unreadiness)
        (self.modelFile, self.wholeModel) = (modelFile, wholeModel)
        (self.adapterFile, self.checkpointFile) = (adapterFile, checkpointFile)
        (self.intake, self.refreshDatasets) = (intake, refreshDatasets)
        self.datasetPreview = datasetPreview
        (self.predictor, self.removeFiles) = (predictor, removeFiles)
        (self.imports, self.webhooks, self.logging) = (imports, webhooks, logging)
    }
}

/// The whole HTTP API: every route, each declared and described in the file of its resource.
public struct API: Sendable {
    /// Every route, dashboard included.
    public let routes: [Route]

    /// Puts the routes together.
    ///
    /// - Parameters:
    ///   - jobs: The service behind most of them.
    ///   - environment: What only the process knows.
    ///   - authenticator: Where browsers sign in; the same one that the server asks.
    public init(jobs: JobService, environment: APIEnvironment, authenticator: TokenAuthenticator) {
        let operations =
            JobRoutes(jobs: jobs, environment: environment).operations
            + ArtifactRoutes(jobs: jobs, environment: environment).operations
            + CurveRoutes(jobs: jobs).operations + CompareRoutes(jobs: jobs).operations
            + EventRoutes(jobs: jobs).operations
            + VerdictRoutes(jobs: jobs).operations + ProfileRoutes(jobs: jobs).operations
            + ModelRoutes(jobs: jobs, environment: environment).operations
            + ModelImportRoutes(intake: environment.imports).operations
            + PredictionRoutes(jobs: jobs, predictor: environment.predictor).operations
            + DatasetRoutes(jobs: jobs, environment: environment).operations
            + UploadRoutes(jobs: jobs, intake: environment.intake).operations
            + WebhookRoutes(webhooks: environment.webhooks).operations
            + DeliveryRoutes(webhooks: environment.webhooks, hub: jobs.hub).operations
            + LogLevelRoutes(logging: environment.logging).operations
            + SystemRoutes(jobs: jobs, environment: environment).operations
            + MetricsRoutes(jobs: jobs, environment: environment).operations
            + SessionRoutes(authenticator: authenticator).operations + DashboardRoutes().operations
        let description = OpenAPIRoutes(others: operations, jobs: jobs, environment: environment)
        routes = (operations + description.operations).map(\.route)
    }

    /// The routes, ready for a server.
    public var router: Router { Router(routes) }
}
