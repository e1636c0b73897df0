import FailPoints
import Files
import Graph
import JSON
import Jobs
import Synchronization
import Training

/// Models that clients send: received into a folder of their own, checked, then published by their row.
///
/// A folder in `models` without a row is deleted at the next start.
final class ModelImporter: ModelIntake {
    private struct State {
        /// Files on their way or being checked.
        var count = 0
        /// Bytes that were announced for them.
        var announced = 0
        var isStopped = false
    }

    let folder: DataFolder
    let limits: UploadLimits
    let time: any TimeSource
    let identifiers: IdentifierGenerator
    private let models: any ModelRepository
    private let report: @Sendable (_ message: String, _ cause: String) -> Void
    private let state = Mutex(State())

    init(
        folder: DataFolder, limits: UploadLimits, models: any ModelRepository,
        identifiers: IdentifierGenerator, time: any TimeSource,
        report: @escaping @Sendable (_ message: String, _ cause: String) -> Void
    ) {
        (self.folder, self.limits, self.models) = (folder, limits, models)
        (self.identifiers, self.time, self.report) = (identifiers, time, report)
    }

    var fileByteCountMax: Int { limits.fileByteCountMax }

    func receive(byteCount: Int?) throws(JobError) -> any ModelFileIntake {
        let announced = try limits.announced(byteCount)
        // Looking for room and taking it are one step: two that come at once do not get the same.
        try state.withLock { (state) throws(JobError) in
            guard !state.isStopped else { throw .draining }
            guard state.count < limits.importsMax else { throw .uploadsBusy(limit: limits.importsMax) }
            try checkRoom(for: announced, beside: state.announced)
            state.count += 1
            state.announced += announced
        }
        return ImportedFile(identifiers.next(at: time.now()), announced: announced, self)
    }

    /// A file came or will not come any more.
    func ended(_ announced: Int) {
        state.withLock { state in
            state.count -= 1
            state.announced -= announced
        }
    }

    /// Refuses bytes for which there is no room beside those that are announced.
    func checkRoom(for byteCount: Int) throws(JobError) {
        try checkRoom(for: byteCount, beside: state.withLock { $0.announced })
    }

    private func checkRoom(for byteCount: Int, beside announced: Int) throws(JobError) {
        try limits.checkRoom(
            for: byteCount + announced, limits.modelsQuota,
            used: { () throws(FileError) in try Folder.byteCount(of: folder.models) }, in: folder.path)
    }

    /// Stores the row of a model whose file is durable.
    func publish(_ record: ModelRecord) throws(JobError) {
        FailPoint.afterModelFiles.pass()
        try models.add(record)
    }

    /// Deletes what is left of a model that was not stored.
    func remove(_ id: ModelID) {
        do { try Folder.removeTree(folder.absolute(DataFolder.folder(of: id))) } catch {
            report("a model that was sent could not be deleted", "\(error)")
        }
    }

    /// Takes nothing any more.
    func stop() { state.withLock { $0.isStopped = true } }
}

/// A model's file on its way.
private final class ImportedFile: ModelFileIntake {
    private let id: ModelID
    private let importer: ModelImporter
    private let file: IncomingFile
    private let isPublished = Mutex(false)

    init(_ id: ModelID, announced: Int, _ importer: ModelImporter) {
        (self.id, self.importer) = (id, importer)
        file = IncomingFile(
            at: importer.folder.absolute("\(DataFolder.folder(of: id))/\(Self.fileName)"),
            announced: announced, byteCountMax: importer.limits.fileByteCountMax,
            checkRoom: { byteCount throws(JobError) in try importer.checkRoom(for: byteCount) },
            ended: { importer.ended(announced) })
    }

    private static let fileName = "model.safetensors"
    private var path: String { "\(DataFolder.folder(of: id))/\(Self.fileName)" }

    func take(_ bytes: [UInt8]) throws(JobError) { try file.take(bytes) }

    func finish(
        expecting sha256: [UInt8]?, name: String, by importer: String
    ) throws(JobError) -> ModelRecord {
        defer { abandon() }
        let receipt = try file.commit()
        try receipt.check(against: sha256)
        let model: ModelImport
        do throws(ModelImport.Failure) {
            model = try ModelImport(
                self.importer.folder.absolute(path), byteCountMax: self.importer.limits.memoryByteCount)
        } catch {
            switch error {
            case .invalid(let input): throw .invalid(input.violations)
            case .unreadable(let cause): throw .storeUnavailable(cause: cause.description)
            }
        }
        let record = ModelRecord(
            id: id, name: name.isEmpty ? id.rawValue : name, jobID: nil, createdAt: self.importer.time.now(),
            architecture: model.stored.model.json, parameters: Int64(model.parameters),
            macs: Int64(model.macsPerSample), path: path, byteCount: Int64(receipt.byteCount),
            sha256: receipt.sha256.hex, lineage: Self.lineage(of: model, by: importer))
        try self.importer.publish(record)
        isPublished.withLock { $0 = true }
        return record
    }

    private static func lineage(of model: ModelImport, by importer: String) -> JSONValue {
        var lineage: JSONObject = ["imported": true, "imported_by": .string(importer)]
        if let name = model.datasetName { lineage["dataset"] = .string(name) }
        if model.stored.isMasked { lineage[ModelRecord.masksKey] = true }
        if model.stored.isQuantized {
            lineage[ModelRecord.quantizationKey] = [
                "scheme": "int8", "layers": .array(model.quantizedLayers.map { .string($0) }),
            ]
        }
        return .object(lineage)
    }

    func abandon() {
        file.abandon()
        if !isPublished.withLock({ $0 }) { importer.remove(id) }
    }

    deinit { abandon() }
}
