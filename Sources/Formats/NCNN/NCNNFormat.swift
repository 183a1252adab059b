import Storage

/// ncnn's networks: a description, the `.param` file that is named, and the weights in the `.bin` file
/// beside it. `NCNN.md` has the layout.
///
/// A tensor has its layer's name, then `.weight`, `.bias` and the like, and the shape that PyTorch gives
/// such a layer; weights in `int8` are read as the `float32` values that they stand for. The text of the
/// description is the value `ncnn.param`, so that files made of these still hold the whole network.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("realesr-animevideov3-x4.param")
/// print(archive.tensors.keys.first ?? "")  // Conv_0.weight
/// ```
package struct NCNNFormat: ReadOnlyModelFormat {
  /// The name of the value that is the description.
  package static let descriptionKey = "ncnn.param"

  package init() {}

  package var identifier: FormatIdentifier {
    FormatIdentifier(name: "ncnn", displayName: "ncnn", fileExtensions: ["param"])
  }
  package var isFreeOfCode: Bool { true }

  package func recognizes(_ file: InputFile) -> Bool {
    let count = NCNNDescription.magic.utf8.count
    guard
      let head = try? file.bytes(
        at: 0, count: min(count + 1, file.byteCount), purpose: "the signature")
    else { return false }
    return head.count > count && head.array.starts(with: NCNNDescription.magic.utf8)
      && [0x0A, 0x0D, 0x20].contains(head.array[count])
  }

  package func read(_ file: InputFile) throws -> TensorArchive {
    let siblings = SiblingFiles(beside: file)
    let name = "\(file.path.pathStem).bin"
    guard !file.isInMemory, try siblings.exists(name) else {
      throw ModelError.unsupported(
        "the weights, '\(name)', are not beside the description", path: file.path)
    }
    var archive = try read(file, weights: siblings.open(name))
    archive.sourceFiles = [file.path, try siblings.path(of: name)]
    return archive
  }

  /// Reads a description and its weights.
  ///
  /// - Throws: `ModelError` when either breaks the format's rules, or they do not fit each other.
  package func read(_ file: InputFile, weights: InputFile) throws -> TensorArchive {
    let text = try locatingErrors(path: file.path) { try Self.text(of: file) }
    let layers = try locatingErrors(path: file.path) {
      try NCNNDescription(parsing: text).layers.map { ($0, try NCNNWeights(of: $0)) }
    }
    return try locatingErrors(path: weights.path) {
      var reader = NCNNWeightReader(weights)
      for (layer, weights) in layers { try reader.read(layer, weights) }
      try reader.finish()
      return TensorArchive(
        format: identifier, tensors: reader.tensors, values: [Self.descriptionKey: .text(text)],
        notes: reader.notes)
    }
  }

  private static func text(of file: InputFile) throws -> String {
    guard file.byteCount <= NCNNDescription.byteCountLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the description of a network in bytes", limit: NCNNDescription.byteCountLimit,
          found: "\(file.byteCount)"))
    }
    let bytes = try file.bytes(at: 0, count: file.byteCount, purpose: "the description")
    guard let text = bytes.withUnsafeBytes({ String(validating: $0, as: UTF8.self) }) else {
      throw ModelError.malformed("the description is not valid UTF-8")
    }
    return text
  }
}
