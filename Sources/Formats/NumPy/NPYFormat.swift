public struct NPYFormat: ModelFormat {
  public init() {}
  public var identifier: FormatIdentifier {
    FormatIdentifier(name: "npy", displayName: "NumPy array", fileExtensions: ["npy"])
  }
  public func recognizes(_ file: InputFile) -> Bool { false }
  public func read(_ file: InputFile) throws -> TensorArchive { fatalError() }
  public func write(
    _ archive: TensorArchive, to writer: inout AtomicFileWriter, progress: WriteProgress?
  ) throws { fatalError() }
}
