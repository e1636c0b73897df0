import Data
import Foundation
import JSON
import Jobs

extension Service {
    /// The first images of a dataset, as `data:` URIs; nil for other kinds, and where they cannot be read:
    /// then the dataset is described without them.
    func preview(of dataset: DatasetRecord) -> JSONValue? {
        guard let found = try? catalogue.preview(dataset.id.rawValue), !found.isEmpty else { return nil }
        return .array(
            found.map { preview in
                let text = Foundation.Data(preview.png).base64EncodedString()
                return ["label": .string(preview.label), "image": .string("data:image/png;base64,\(text)")]
            })
    }
}
