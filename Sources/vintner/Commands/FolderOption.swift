import ArgumentParser

/// Which data folder a command works on.
struct FolderOption: ParsableArguments {
    /// Where it lies unless somebody says otherwise.
    static let standard = "./vintner-data"

    @Option(help: "The data folder.")
    var data = FolderOption.standard

    var folder: DataFolder { DataFolder(path: data) }
}
