/// A single NumPy array, `.npy`.
///
/// The format has no names: the array's name is empty, like that of any tensor that is a file's
/// whole content. What an array of objects holds, a dictionary of arrays mostly, has its own names; its
/// pickle is read as data, and never executed. An archive is written when it is one tensor of a type that NumPy has and nothing
/// else; the tensor's name is not kept.
public struct NPYFormat: ModelFormat {
  public init() {}

  public var identifier: FormatIdentifier {
    FormatIdentifier(name: "npy", displayName: "NumPy array", fileExtensions: ["npy"])
  }

  public func recognizes(_ file: InputFile) -> Bool {
    let magic = NPYHeader.magic
    let head = try? file.bytes(at: 0, count: magic.count, purpose: "the signature").array
    return head == magic
  }

  public func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      if let archive = try readObjects(file) { return archive }
      let header = try NPYHeader(byteCount: file.byteCount) {
        try file.bytes(at: $0, count: $1, purpose: $2)
      }
      let array = NPYArray(header: header, path: file.path) {
        try file.bytes(at: 0, count: file.byteCount, purpose: "the array")
      }
      var archive = TensorArchive(format: identifier)
      let structure = try archive.add(array, named: "")
      if case .leaf = structure { return archive }
      archive.structure = structure
      return archive
    }
  }

  /// The content of an array of objects, such as a dictionary of arrays; `nil` for any other array.
  private func readObjects(_ file: InputFile) throws -> TensorArchive? {
    let headByteCount = min(file.byteCount, NPYHeader.headByteLimit)
    let head = try file.bytes(at: 0, count: headByteCount, purpose: "the NumPy header")
    guard let start = NPYHeader.objectsOffset(in: head) else { return nil }
    var archive = TensorArchive(format: identifier)
    let pickle = try file.bytes(
      at: start, count: file.byteCount - start, purpose: "a NumPy array of objects")
    archive.structure = try archive.add(objects: pickle, named: "")
    return archive
  }

  public func write(
    _ archive: TensorArchive, to writer: inout AtomicFileWriter, progress: WriteProgress?
  ) throws {
    guard archive.tensors.count == 1, let (name, tensor) = archive.tensors.elements.first else {
      throw FormatError.unsupported(
        "a .npy file holds exactly one tensor, not \(archive.tensors.count); .npz holds several")
    }
    guard archive.values.isEmpty, archive.metadata.isEmpty else {
      throw FormatError.unsupported(
        "a .npy file holds one tensor and no values or metadata; .npz holds them")
    }
    guard NPYElement.isNative(tensor.elementType) else {
      throw FormatError.unsupported(
        "NumPy has no element type for \(tensor.elementType); .npz keeps it", tensor: name)
    }
    let header = try NPYHeader.encode(
      descriptor: NPYElement.descriptor(of: tensor.elementType), shape: tensor.shape)
    try writer.preallocate(byteCount: header.count + tensor.byteCount)
    try writer.append(header)
    try locatingErrors(tensor: name) { try writer.append(try tensor.bytes()) }
    progress?(name, tensor.byteCount)
  }
}
