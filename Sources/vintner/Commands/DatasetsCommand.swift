public import ArgumentParser
public import Data
import Files
import Jobs

/// `vintner datasets`.
struct DatasetsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "datasets",
        abstract: "Add datasets to a data folder or send them to a server, or list them.",
        subcommands: [Add.self, UploadCommand.self, List.self])

    /// `vintner datasets add NAME PATH`.
    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Copy a dataset into a data folder: images (IDX, NumPy, PNG, JPEG) or text.",
            discussion: DatasetOptions.discussion)

        @Argument(help: "How jobs will call it.")
        var name: String
        @Argument(help: "The file or folder.")
        var path: String
        @OptionGroup var options: DatasetOptions
        @OptionGroup var place: FolderOption
        @Option(
            help: "What all datasets and uploads may take, or auto: until four fifths of the disk are full.")
        var maxDatasetsBytes = ServiceConfiguration.Amount.automatic

        func run() throws {
            let folder = place.folder
            let time = SystemTime()
            do {
                try folder.make()
                let catalogue = DatasetCatalogue(
                    folder: folder.datasets, systemFolder: Service.systemDatasets)
                let id: DatasetID = IdentifierGenerator().next(at: time.now())
                var limits = UploadLimits()
                if case .value(let most) = maxDatasetsBytes { limits.totalByteCountMax = most }
                let room = DatasetRoom(folder, limits, catalogue)
                let info = try catalogue.add(
                    name, from: path, as: options.format(of: path), id: id.rawValue, now: time.now().seconds
                ) { byteCount throws(DataError) in try room.claim(byteCount, for: id.rawValue) }
                Terminal.say("\(info.id)  \(info.name)  \(DatasetsCommand.size(of: info))")
            } catch {
                Terminal.complain("vintner: \(error)")
                throw Ending.failed.error
            }
        }
    }

    /// `vintner datasets list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List what a data folder and the system have.")

        @OptionGroup var place: FolderOption

        func run() throws {
            let catalogue = DatasetCatalogue(
                folder: place.folder.datasets, systemFolder: Service.systemDatasets)
            do {
                for info in try catalogue.list() {
                    Terminal.say("\(info.id)  \(info.name)  \(DatasetsCommand.size(of: info))")
                }
            } catch {
                Terminal.complain("vintner: \(error)")
                throw Ending.failed.error
            }
        }
    }

    /// How much there is, for people.
    static func size(of info: DatasetInfo) -> String {
        switch info.kind {
        case .images: "\(info.trainCount) + \(info.testCount) samples, \(info.classCount) classes"
        case .text(let text):
            "\(info.trainCount) + \(info.validationCount) tokens, \(text.vocabularySize) different"
        case .sequences(let sequences):
            "\(info.trainCount) + \(info.validationCount) samples, \(info.classCount) classes, "
                + "\(sequences.vocabularySize) different tokens"
        }
    }
}

/// How the files of a new dataset are to be read.
struct DatasetOptions: ParsableArguments {
    @Option(help: "idx, npy, npz, images, text or csv; by default what the names look like.")
    var format: DatasetFormat.Name?
    @Option(help: "byte, char or word: what a token is; char for text, word for csv by default.")
    var tokens: TokenUnit?
    @Option(help: "Part of the training file that validates, unless there is a file for that.")
    var validationFraction = TextSettings().validationFraction
    @Option(help: "The most tokens that a vocabulary of words may have.")
    var vocabulary = TextSettings().vocabularyLimit

    static let discussion = """
        idx: train-images-idx3-ubyte and its companions, plain or .gz. npy: x_train.npy, y_train.npy, \
        x_test.npy and y_test.npy. npz: the same arrays in one file. images: a .tar or .tar.gz of PNG or \
        JPEG images, as train/CLASS/NAME.png and test/CLASS/NAME.png. text: a UTF-8 file, of which a \
        language model predicts the next token. csv: a file with the columns text and label, or with one \
        token and its label a line, blank lines between sentences. Text and CSV may also be files train, \
        validation and test.
        """

    /// The format of what lies at a path.
    func format(of path: String) -> DatasetFormat {
        switch format ?? DatasetFormat.Name(guessedFrom: path) {
        case .idx: .idx()
        case .npy: .npy()
        case .npz: .npz()
        case .images: .images
        case .text: .text(settings(.char))
        case .csv: .csv(settings(.word))
        }
    }

    private func settings(_ unit: TokenUnit) -> TextSettings {
        TextSettings(
            unit: tokens ?? unit, validationFraction: validationFraction, vocabularyLimit: vocabulary)
    }
}

extension DatasetFormat.Name: ExpressibleByArgument {}
extension TokenUnit: ExpressibleByArgument {}
