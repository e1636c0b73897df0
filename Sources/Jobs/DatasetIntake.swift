public import JSON

/// Takes datasets from clients: opened, filled with files, then checked and published; implemented where the
/// service meets the engine.
public protocol DatasetIntake: Sendable {
    /// The fields of a body that opens an upload.
    var schema: ObjectSchema { get }
    /// The largest file, in bytes.
    var fileByteCountMax: Int { get }
    /// How long an upload stays open after the last file came, in seconds.
    var openSeconds: Double { get }

    /// Opens an upload.
    ///
    /// - Throws: `invalid` with every violation, `nameTaken`, `tooManyUploads`.
    func open(_ body: JSONValue) throws(JobError) -> DatasetRecord

    /// Whether an open dataset is being checked.
    func isCommitting(_ id: DatasetID) -> Bool

    /// Prepares for a file, so that whoever may not send it learns so before the first byte.
    ///
    /// - Parameters:
    ///   - name: What the client calls it.
    ///   - dataset: The id or name of an open upload.
    ///   - byteCount: The announced size; `nil` where it is not known.
    /// - Returns: What takes the bytes.
    /// - Throws: `datasetNotFound`, `datasetReady`, `datasetBusy`, `fileTooLarge`, `noRoom`,
    ///   `tooManyUploads`.
    func receive(_ name: String, for dataset: String, byteCount: Int?) throws(JobError) -> any FileIntake

    /// Begins to check an upload and to publish it; the same again while that goes on.
    func commit(_ dataset: String) throws(JobError) -> Pending<DatasetRecord, JobError>

    /// Deletes an open upload, or a dataset that no job needs.
    ///
    /// - Parameters:
    ///   - dataset: Its id or name.
    ///   - mayDeleteReady: Whether the caller may delete what is published.
    /// - Throws: `datasetNotFound`, `datasetBusy`, `forbidden`, `inUse`.
    func delete(_ dataset: String, mayDeleteReady: Bool) throws(JobError)
}

/// A file on its way; its calls come one after another.
public protocol FileIntake: AnyObject, Sendable {
    /// Takes the next bytes; may block.
    func take(_ bytes: [UInt8]) throws(JobError)

    /// Publishes the file within its upload, in the place of one of the same name.
    ///
    /// - Parameter sha256: What the bytes must hash to; `nil` where nobody said.
    /// - Returns: The file, and whether there was none of its name.
    /// - Throws: `digestMismatch`; then nothing is left of the file.
    func finish(expecting sha256: [UInt8]?) throws(JobError) -> (file: DatasetFile, isNew: Bool)

    /// Leaves nothing behind, unless it is finished.
    func abandon()
}
