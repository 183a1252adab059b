import Storage

/// The packed low-bit format; `Packed.md` in the documentation describes its byte layout.
///
/// Reading returns every tensor in its logical type, dequantized when loaded; `PackedModel` gives
/// access to codes and parameters. Writing stores every tensor losslessly; `PackedPlan` writes
/// quantized ones.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// try FormatRegistry.standard.write(archive, as: PackedFormat(), to: "model.condi")
/// let copy = try PackedFormat().read(InputFile(path: "model.condi"))
/// print(copy.tensorByteCount == archive.tensorByteCount)  // true
/// ```
public struct PackedFormat: ModelFormat {
  package static let identifier = FormatIdentifier(
    name: "condi", displayName: "condi packed", fileExtensions: ["condi"])

  public init() {}

  public var identifier: FormatIdentifier { Self.identifier }
  public var isFreeOfCode: Bool { true }

  public func recognizes(_ file: InputFile) -> Bool {
    let magic = try? file.bytes(at: 0, count: PackedPrologue.magic.count, purpose: "the magic")
    return magic?.array == PackedPrologue.magic
  }

  public func read(_ file: InputFile) throws -> TensorArchive {
    let model = try PackedModel(parsing: file)
    var archive = TensorArchive(
      format: identifier, values: model.header.values, metadata: model.header.metadata)
    archive.activations = model.header.activations
    archive.packedSummary = PackedSummary(model)
    if model.header.source?.isWholeState == true { archive.stateDictionaries = [""] }
    archive.sourceRoot = model.header.source?.root
    archive.edits = model.header.source?.edits
    // One storage per entry, so that names that share bytes here share them after conversion.
    let storages = model.header.entries.map(model.storage)
    for (name, index) in model.header.names {
      archive.tensors[name] = try model.tensor(named: name, in: storages[index])
    }
    return archive
  }

  public func plan(
    _ archive: TensorArchive, runningTasks run: TaskRunner
  ) throws -> PlannedFile<Never> {
    try PackedPlan(losslessly: archive, runningTasks: run).file
  }
}
