import Files

/// A dataset that a package of the operating system brings.
struct SystemDataset {
    let id: String
    let name: String
    let classNames: [String]

    /// Debian's package `dataset-fashion-mnist`.
    ///
    /// The id is fixed, so that it means the same on every machine: a ULID of the day of publication.
    static let all = [
        SystemDataset(
            id: "dst_01brbb0d00fash10nmn1st0000", name: "fashion-mnist",
            classNames: [
                "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
                "Ankle boot",
            ])
    ]

    /// Describes the dataset, reading its files through only when they are new or have changed.
    ///
    /// - Parameters:
    ///   - files: The files as they lie there.
    ///   - memory: The folder in which the description is kept between starts.
    /// - Returns: The description; its age is that of the training images.
    /// - Throws: `DataError` when the files are unfit or the description cannot be kept.
    func describe(_ files: DatasetFiles, rememberedIn memory: String) throws(DataError) -> DatasetInfo {
        let stamp = files.stamp()
        let description = "\(memory)/.\(id).json"
        if let stored = try DatasetInfo.read(description), stored.stamp == stamp { return stored.info }
        let content = try files.decode(keepingContent: false).naming(classNames)
        let age =
            files.first.flatMap { Folder.status(of: $0, followingLinks: true)?.modifiedNanoseconds } ?? 0
        let info = DatasetInfo(content, id: id, name: name, format: .idx, createdAt: Double(age) / 1e9)
        try DataError.translating { () throws(FileError) in try Folder.make(memory) }
        try info.write(to: description, stamp: stamp)
        return info
    }
}
