import API
import Data
import FailPoints
import Files
import Foundation
import JSON
import Jobs
import Kernels
import Logging
import Store
import Synchronization

/// Everything between the data folder and the job API, put together.
final class Service: Sendable {
    let configuration: ServiceConfiguration
    let database: SQLiteDatabase
    let catalogue: DatasetCatalogue
    let jobs: JobService
    let pool: WorkerPool
    let hub: ChangeHub
    let predictions: PredictionService
    let uploads: UploadService
    let webhooks: WebhookService
    let imports: ModelImporter
    let retention: JobRetention
    private let janitor: Janitor
    /// The datasets that the table has as they are.
    private let registered = Mutex<[DatasetInfo]>([])
    private let watch: FolderWatch
    private let log: Logger

    /// A job that took the process down this often is not tried again.
    static let crashLimit = 2
    static let systemDatasets = "/usr/share/datasets"

    /// Opens the data folder, takes back what an earlier process left, and starts the workers.
    init(_ configuration: ServiceConfiguration, log: Logger) throws {
        self.configuration = configuration
        self.log = log
        Heap.limitArenas()
        try PrimitiveCache.limit()
        let folder = configuration.folder
        try folder.make()
        watch = FolderWatch(try FolderLock(folder: folder.path))
        let outlet = configuration.webhooks == nil ? WebhookOutlet.silent : WebhookOutlet { $0.notices }
        database = try Self.openDatabase(folder, outlet, log)
        let time = SystemTime()
        let repository = SQLiteJobRepository(database)
        let bootID = SHA256.Digest.hex(try secureRandomBytes(16))
        let recovered = try repository.recover(bootID: bootID, crashLimit: Self.crashLimit, at: time.now())
        Self.tell(of: recovered, log)
        FailPoint.afterRecovery.pass()
        Self.tell(
            of: try folder.clean(keeping: repository.namedPaths(), notesOf: repository.resumableJobs()), log)
        catalogue = DatasetCatalogue(folder: folder.datasets, systemFolder: Self.systemDatasets)
        try catalogue.removeLeftovers()
        let datasets = SQLiteDatasetRepository(database)
        uploads = UploadService(
            folder: folder, limits: configuration.uploads, repository: datasets, catalogue: catalogue,
            identifiers: database.identifiers, time: time,
            register: { info throws(JobError) in try Self.register(info, in: datasets) },
            report: { message, cause in log.error("\(message)", metadata: ["cause": "\(cause)"]) })
        try uploads.recover()
        hub = ChangeHub()
        let limits = MachineLimits(time: time)
        let models = SQLiteModelRepository(database)
        imports = Self.imports(configuration, database, models, log)
        let runner = JobRunner(
            catalogue: catalogue, models: models, jobs: repository, folder: folder,
            cores: configuration.budget.threads, identifiers: database.identifiers, time: time,
            limits: limits, report: { log.warning("\($0)", metadata: ["cause": "\($1)"]) })
        var workers = WorkerPool.Configuration(
            workers: configuration.workers, budget: configuration.budget, bootID: bootID)
        workers.shortage = { [room = configuration.room] in room.shortage }
        workers.log = { message, error in
            log.error("\(message)", metadata: ["cause": "\(error.cause ?? "\(error)")"])
        }
        workers.tell = { Self.tell(of: $0, log) }
        workers.hangs = Self.hangPolicy(seconds: configuration.hangSeconds, log)
        pool = WorkerPool(
            workers, jobs: repository, executor: runner, hub: hub, time: time)
        webhooks = Self.webhooks(configuration.webhooks, database, outlet, hub, log)
        predictions = PredictionService(
            folder: folder, byteCountMax: configuration.predictionByteCount, time: time, log: log)
        jobs = JobService(
            repositories: JobService.Repositories(
                jobs: repository, metrics: SQLiteMetricRepository(database),
                events: SQLiteEventRepository(database), models: models,
                datasets: datasets),
            resolver: SpecResolver(
                catalogue: catalogue, budget: configuration.budget, limits: limits, models: models,
                jobs: repository),
            workers: pool, hub: hub, time: time, queueLimits: configuration.queueLimits)
        retention = Self.retention(configuration, database, hub, log)
        janitor = Self.janitor(database, log)
        watch.start(onLoss: Self.endsWithoutFolder(folder, log))
        if database.isUnchecked { Self.startCheck(of: database, log) }
        pool.start()
        uploads.startSweeping()
        webhooks.start()
        retention.start()
        janitor.start()
    }

    /// Whether the database can be read.
    var answers: Bool { database.answers }

    /// Brings the table of datasets up to date with the folders, also with what a command added meanwhile.
    ///
    /// Takes half a second the first time, and the reading of some small files when nothing changed.
    func registerDatasets() throws {
        try registered.withLock { registered in
            let found = try catalogue.list()
            var kept: [DatasetInfo] = []
            for info in found {
                do throws(JobError) {
                    if !registered.contains(info) {
                        try Self.register(info, in: jobs.repositories.datasets)
                    }
                    kept.append(info)
                } catch {
                    // An open upload has the name of what a command added: jobs get what is in the folder.
                    guard case .nameTaken = error else { throw error }
                }
            }
            registered = kept
        }
    }

    private static func register(
        _ info: DatasetInfo, in datasets: any DatasetRepository
    ) throws(JobError) {
        guard let id = DatasetID(info.id) else { return }
        let record = DatasetRecord(
            id: id, name: info.name, format: info.format, isReady: true, path: "datasets/\(info.id)",
            sha256: info.sha256, createdAt: Timestamp(milliseconds: Int64(info.createdAt * 1000)),
            details: info.json)
        do throws(JobError) {
            let known = try datasets.dataset(info.id)
            if known.sha256 != record.sha256 || known.details != record.details {
                try datasets.update(record)
            }
        } catch {
            guard case .datasetNotFound = error else { throw error }
            try datasets.add(record)
        }
    }

    /// Deletes files that no record names any more.
    func remove(_ paths: [String]) { Self.remove(paths, from: configuration.folder, log) }

    /// Stops the workers, each at a checkpoint, and closes the database.
    func close(seconds: Double = 20) {
        watch.stop()
        predictions.stop(seconds: 2)
        uploads.stop()
        imports.stop()
        retention.stop(milliseconds: 3000)
        janitor.stop(milliseconds: 3000)
        pool.drain(milliseconds: UInt64(seconds * 1000))
        pool.stop(milliseconds: 2000)
        webhooks.stop(milliseconds: 3000)
        do { try database.cancelCheck() } catch {
            log.error("the mark of a check could not be deleted", metadata: ["cause": "\(error)"])
        }
        do { try database.close() } catch {
            log.error("the database could not be closed", metadata: ["cause": "\(error)"])
        }
    }
}
