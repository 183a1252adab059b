public struct PyTorchFormat: ModelFormat {
  public init() {}
  public var identifier: FormatIdentifier {
    FormatIdentifier(name: "pytorch", displayName: "PyTorch", fileExtensions: ["pth"])
  }
  public func recognizes(_ file: InputFile) -> Bool { false }
  public func read(_ file: InputFile) throws -> TensorArchive { fatalError() }
  public func write(
    _ archive: TensorArchive, to writer: inout AtomicFileWriter, progress: WriteProgress?
  ) throws { fatalError() }
}
