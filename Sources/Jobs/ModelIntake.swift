/// Takes models from clients; implemented where the service meets the engine.
public protocol ModelIntake: Sendable {
    /// The largest file, in bytes.
    var fileByteCountMax: Int { get }

    /// Prepares for a model's file, so that whoever may not send it learns so before the first byte.
    ///
    /// - Parameter byteCount: The announced size; `nil` where it is not known.
    /// - Returns: What takes the bytes.
    /// - Throws: `fileTooLarge`, `noRoom`, `uploadsBusy`, `draining`.
    func receive(byteCount: Int?) throws(JobError) -> any ModelFileIntake
}

/// A model's file on its way; its calls come one after another.
public protocol ModelFileIntake: AnyObject, Sendable {
    /// Takes the next bytes; may block.
    func take(_ bytes: [UInt8]) throws(JobError)

    /// Checks the file and stores the model; may take seconds.
    ///
    /// - Parameters:
    ///   - sha256: What the bytes must hash to; `nil` where nobody said.
    ///   - name: What it is called; its id where it is empty.
    ///   - importer: Who sends it.
    /// - Returns: The model.
    /// - Throws: `digestMismatch`, `invalid` with every violation; then nothing is left of the file.
    func finish(
        expecting sha256: [UInt8]?, name: String, by importer: String
    ) throws(JobError) -> ModelRecord

    /// Leaves nothing behind, unless it is finished.
    func abandon()
}
