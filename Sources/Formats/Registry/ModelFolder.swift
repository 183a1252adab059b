import FoundationEssentials
import Glibc
import Storage

/// The folder of a model, such as a download from a model hub, which stands for the one model in
/// it.
package enum ModelFolder {
  /// Returns `path`, or, if it is a folder, the path of the model in it: the only index of a
  /// sharded or distributed checkpoint, or else the only safetensors file, or else the only file of
  /// any other format; the first file of a split GGUF model stands for all.
  ///
  /// - Throws: `ModelError` when the folder holds no model, or several.
  static func modelPath(in path: String) throws -> String {
    guard path.isFolder else { return path }
    let names = try names(in: path)
    if let index = distributedIndex(names, in: path) { return index }
    let indexes = names.filter { isIndex($0, in: path) }
    if !indexes.isEmpty { return try only(of: indexes, "indexes", in: path) }
    if let signature = FileSignature(ofFolder: path, names: names), signature.isWhole {
      throw unreadable(signature, path)
    }
    let safetensors = names.filter { $0.hasSuffix(".safetensors") }
    if !safetensors.isEmpty { return try only(of: safetensors, "safetensors files", in: path) }
    let others = names.filter {
      isModel($0, in: path) && !isBeside($0, names) && !isLaterSplit($0, names)
    }
    // Repositories hold the same weights for several frameworks; Flax's comes last.
    let first = others.filter { $0.pathExtension != "msgpack" }
    if !first.isEmpty { return try only(of: first, "model files", in: path) }
    if !others.isEmpty { return try only(of: others, "model files", in: path) }
    if let signature = FileSignature(ofFolder: path, names: names) {
      throw unreadable(signature, path)
    }
    throw ModelError.unsupported(
      "the folder holds neither a model file nor an index of one (*\(ShardIndex.fileNameSuffix)); name a file",
      path: path)
  }

  /// Returns an error that describes the folder at `path` and asks for one of its files; `nil` for
  /// other paths.
  package static func refusal(of path: String) -> ModelError? {
    guard path.isFolder else { return nil }
    let signature = (try? names(in: path)).flatMap { FileSignature(ofFolder: path, names: $0) }
    return signature.map { unreadable($0, path) }
      ?? ModelError.unsupported("it is a folder; name its files instead", path: path)
  }

  private static func unreadable(_ signature: FileSignature, _ path: String) -> ModelError {
    ModelError(.unrecognizedFormat(found: signature.description), path: path)
  }

  private static func only(
    of names: [String], _ what: String, in folder: String
  ) throws -> String {
    guard names.count == 1 else {
      throw ModelError.unsupported(
        "the folder holds several \(what); name one of \(names.quotedList())", path: folder)
    }
    return join(folder, names[0])
  }

  private static func names(in folder: String) throws -> [String] {
    do {
      return try FileManager.default.contentsOfDirectory(atPath: folder).sortedByBytes()
    } catch {
      let reason = (error as? CocoaError)?.underlying as? POSIXError
      throw ModelError(
        .system(operation: "list the folder", code: reason?.code.rawValue ?? EACCES), path: folder)
    }
  }

  /// Returns the path of the index of a distributed checkpoint.
  private static func distributedIndex(_ names: [String], in folder: String) -> String? {
    let name = DistributedCheckpointFormat.indexName
    guard names.contains(name),
      let file = try? InputFile(path: join(folder, name), access: .read),
      DistributedCheckpointFormat().recognizes(file)
    else { return nil }
    return file.path
  }

  private static func isIndex(_ name: String, in folder: String) -> Bool {
    guard name.hasSuffix(ShardIndex.fileNameSuffix) else { return false }
    let file = try? InputFile(path: join(folder, name), access: .read)
    return file.map(ShardIndex.isRecognized) ?? false
  }

  /// Whether a file may be the folder's model. Files beside a model, such as the state of an
  /// optimizer, may have a known format but another purpose, so only the names of models count; a
  /// pointer in place of a model counts as one.
  private static func isModel(_ name: String, in folder: String) -> Bool {
    let pathExtension = name.pathExtension
    let known = FormatRegistry.standard.formats.flatMap(\.identifier.fileExtensions)
    guard known.contains(pathExtension), !training.contains(name) else { return false }
    return (try? InputFile(path: join(folder, name), access: .read)) != nil
  }

  /// Whether a file has the weights of an ncnn description, which stands for both.
  private static func isBeside(_ name: String, _ names: [String]) -> Bool {
    name.hasSuffix(".bin") && names.contains("\(name.dropLast(4)).param")
  }

  /// Whether a file is one of a split GGUF model, but not the first.
  private static func isLaterSplit(_ name: String, _ names: [String]) -> Bool {
    guard let match = name.wholeMatch(of: /(.*)-([0-9]{5})(-of-[0-9]{5}\.gguf)/) else {
      return false
    }
    return match.2 != "00001" && names.contains("\(match.1)-00001\(match.3)")
  }

  /// Files that the trainers of Hugging Face put beside a model.
  private static let training: Set<String> = [
    "training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth",
    "optimizer.bin", "scheduler.bin",
  ]

  private static func join(_ folder: String, _ name: String) -> String {
    folder.appendingPathComponent(name)
  }
}
