import FoundationEssentials
import Glibc
import Storage

/// A kind of file that no format here reads, and advice on converting it into a readable one.
///
/// Signatures are used in messages only. Formats recognize their files by content, but here the
/// file name may help where the content is ambiguous.
struct FileSignature: Hashable, Sendable {
  /// How the content could affect a program that opens it.
  enum Nature: Hashable, Sendable {
    /// Compressed data or an archive, which may contain anything.
    case compressed
    /// Machine code or bytecode, which runs when it is loaded.
    case program
    case other
  }

  /// The name of the kind, with its article.
  let name: String
  /// The advice, as a clause.
  let advice: String?
  let nature: Nature
  /// Whether a folder is this as a whole, whatever else it contains.
  var isWhole = false

  init(
    _ name: String, _ advice: String? = nil, _ nature: Nature = .other, isWhole: Bool = false
  ) {
    self.name = name
    self.advice = advice
    self.nature = nature
    self.isWhole = isWhole
  }

  /// The sentence for a message.
  var description: String { "it looks like \(name)" + (advice.map { "; \($0)" } ?? "") }

  /// Returns what `file` looks like, as it reads after "not a model file of a known format: ".
  static func describe(_ file: InputFile) -> String {
    guard file.byteCount > 0 else { return "the file is empty" }
    guard let head = head(of: file, 8) else { return "its first bytes cannot be read" }
    if let signature = FileSignature(of: file) { return signature.description }
    let digits = head.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
    return "it begins with the bytes \(digits.joined(separator: " "))"
  }

  /// Identifies a file.
  ///
  /// - Returns: `nil` when nothing is known about the file.
  init?(of file: InputFile) {
    guard let head = Self.head(of: file, 64), !head.isEmpty else { return nil }
    // The most reliable come first.
    let attempts: [() -> FileSignature?] = [
      { Self.gitPointer(file, head) }, { Self.misleading(file) },
      { Self.table.first { $0.matches(head) }?.signature }, { Self.zip(file, head) },
      { Self.lateSignature(file) }, { Self.zlib(file) }, { Self.named(file, head) },
      { Self.protobuf(file, head) }, { Self.messagePack(head) }, { Self.pickle(head) },
      { Self.text(file) },
    ]
    for attempt in attempts {
      if let found = attempt() {
        self = found
        return
      }
    }
    return nil
  }

  /// Returns the signature of a file that a format of this library would mistake for its own.
  static func misleading(_ file: InputFile) -> FileSignature? {
    let pathExtension = file.path.pathExtension
    guard let head = head(of: file, 4096), let first = head.first else { return nil }
    if pathExtension == "distcp", first == UInt8(ascii: "P") { return distributedCheckpoint }
    guard first == PickleOpcode.proto.rawValue else { return nil }
    return contains(head, "joblib.numpy_pickle") ? joblib : nil
  }

  // MARK: Signatures

  private struct Entry {
    let offset: Int
    let bytes: [UInt8]
    let signature: FileSignature

    init(
      _ bytes: [UInt8], at offset: Int = 0, _ name: String, _ advice: String? = nil,
      _ nature: Nature = .other
    ) {
      self.offset = offset
      self.bytes = bytes
      signature = FileSignature(name, advice, nature)
    }

    init(
      _ text: String, at offset: Int = 0, _ name: String, _ advice: String? = nil,
      _ nature: Nature = .other
    ) {
      self.init(Array(text.utf8), at: offset, name, advice, nature)
    }

    func matches(_ head: [UInt8]) -> Bool { head.dropFirst(offset).starts(with: bytes) }
  }

  private static let unpack = "decompress it and name what comes out"
  private static let extract = "extract it and name a file of it"
  private static let toONNX = "tf2onnx makes an ONNX file of it"
  private static let oldGGML = "llama.cpp's convert_llama_ggml_to_gguf.py makes a GGUF file of it"
  private static let openWith =
    "read it with h5py or its own program, and save the arrays as .npz or .safetensors"
  private static let ncnnAdvice = "name the description as text, the .param file beside it"

  private static let distributedCheckpoint = FileSignature(
    "one file of a distributed PyTorch checkpoint (DCP)",
    "name its folder, or the '.metadata' beside it")
  static let joblib = FileSignature(
    "a joblib dump",
    "load it with joblib if you trust it ('audit' lists what that runs), and save the arrays as .npz"
  )

  private static let table: [Entry] = [
    Entry("TFL3", at: 4, "a TensorFlow Lite model", "tf2onnx --tflite makes an ONNX file of it"),
    Entry("ORTM", at: 4, "an ONNX Runtime model (.ort)", "name the .onnx file it was made from"),
    Entry("ET12", at: 4, "an ExecuTorch program", "name the checkpoint it was made from"),
    Entry("V 1", at: 12, "a Torch7 file", "torchfile reads it in Python"),
    Entry("lmgg", "an old ggml model (before GGUF)", oldGGML),
    Entry("fmgg", "an old ggml model (GGMF, before GGUF)", oldGGML),
    Entry("tjgg", "an old ggml model (GGJT, before GGUF)", oldGGML),
    Entry("algg", "an old ggml adapter (GGLA, before GGUF)", oldGGML),
    Entry([0xDD, 0x85, 0x76, 0x00], "a binary ncnn network description", ncnnAdvice),
    Entry([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00], "xz-compressed data", unpack, .compressed),
    Entry([0x5D, 0x00, 0x00], "LZMA-compressed data", unpack, .compressed),
    Entry([0x1F, 0x8B], "gzip-compressed data", unpack, .compressed),
    Entry([0x1F, 0x9D], "data compressed by compress", unpack, .compressed),
    Entry([0x28, 0xB5, 0x2F, 0xFD], "zstd-compressed data", unpack, .compressed),
    Entry([0x04, 0x22, 0x4D, 0x18], "LZ4-compressed data", unpack, .compressed),
    Entry([0x02, 0x21, 0x4C, 0x18], "LZ4-compressed data", unpack, .compressed),
    Entry(
      [0xFF, 0x06, 0, 0] + Array("sNaPpY".utf8), "Snappy-compressed data", unpack, .compressed),
    Entry("LZIP", "lzip-compressed data", unpack, .compressed),
    Entry([0x89] + Array("LZO".utf8), "LZO-compressed data", unpack, .compressed),
    Entry([0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C], "a 7-Zip archive", extract, .compressed),
    Entry("Rar!\u{1A}", "a RAR archive", extract, .compressed),
    Entry("MSCF", "a cabinet archive", extract, .compressed),
    Entry("!<arch>\n", "an ar archive", extract, .compressed),
    Entry([0x7F] + Array("ELF".utf8), "a program or library of Linux (ELF)", nil, .program),
    Entry([0xCF, 0xFA, 0xED, 0xFE], "a program or library of macOS", nil, .program),
    Entry([0xCE, 0xFA, 0xED, 0xFE], "a program or library of macOS", nil, .program),
    Entry([0xCA, 0xFE, 0xBA, 0xBE], "a program of macOS or a Java class", nil, .program),
    Entry([0x00] + Array("asm".utf8), "a WebAssembly program", nil, .program),
    Entry([0x1B] + Array("Lua".utf8), "a compiled Lua program", nil, .program),
    Entry([0x1B] + Array("LJ".utf8), "a compiled Lua program", nil, .program),
    Entry([0x0C, 0x0D, 0x0A], at: 1, "compiled Python code", nil, .program),
    Entry([0x0D, 0x0D, 0x0A], at: 1, "compiled Python code", nil, .program),
    Entry([0x0E, 0x0D, 0x0A], at: 1, "compiled Python code", nil, .program),
    Entry([0xF3, 0x0D, 0x0A], at: 1, "compiled Python code", nil, .program),
    Entry("ftrt", "a TensorRT engine", "name the ONNX file it was made from", .program),
    Entry("ptrt", "a TensorRT engine", "name the ONNX file it was made from", .program),
    Entry("RKNN", "an RKNN model", "name the ONNX file it was made from"),
    Entry([0x12, 0x01, 0, 0, 0, 0, 0, 0], "an MXNet parameter file", "mxnet.nd.load reads it"),
    Entry([0x89] + Array("PNG".utf8), "a PNG image"),
    Entry([0xFF, 0xD8, 0xFF], "a JPEG image"),
    Entry("GIF8", "a GIF image"),
    Entry("RIFF", "a RIFF file, such as a WebP image or a WAVE sound"),
    Entry("PAR1", "a Parquet file"),
    Entry("ARROW1", "an Arrow file"),
    Entry("MATLAB 5.0", "a MATLAB file", "scipy.io.loadmat reads it; save the arrays as .npz"),
    Entry("SQLite format 3\0", "an SQLite database"),
    Entry("%PDF", "a PDF document"),
  ]

  /// Recognizes a Git LFS pointer, which contains the length of the file that it stands for.
  private static func gitPointer(_ file: InputFile, _ head: [UInt8]) -> FileSignature? {
    let beginnings = [
      "version https://git-lfs.github.com/spec/", "version https://hawser.github.com/",
    ]
    guard beginnings.contains(where: { head.starts(with: $0.utf8) }) else { return nil }
    let lines = String(decoding: Self.head(of: file, 1024) ?? [], as: UTF8.self).split(
      separator: "\n")
    let size = lines.first { $0.hasPrefix("size ") }.flatMap { Int($0.dropFirst(5)) }
    let place = size.map { "a file of \($0) bytes" } ?? "a file"
    return FileSignature(
      "a Git LFS pointer, which stands for \(place)",
      "'git lfs pull' in its repository fetches that")
  }

  private static func zip(_ file: InputFile, _ head: [UInt8]) -> FileSignature? {
    guard head.starts(with: "PK".utf8), head.count >= 4, [3, 5, 7].contains(head[2]) else {
      return nil
    }
    let names = Set(((try? file.zipDirectory())?.entries ?? []).map(\.name))
    func has(_ suffix: String) -> Bool { names.contains { $0.hasSuffix(suffix) } }
    if names.contains("config.json"), has(".weights.h5") {
      return FileSignature("a Keras archive (.keras), whose weights are an HDF5 file", openWith)
    }
    if names.contains("data"), names.contains("_stable_baselines3_version") {
      return FileSignature(
        "a stable-baselines3 archive", "extract it and name its policy.pth")
    }
    if has("/.data/extern_modules") {
      return FileSignature("a torch.package archive", "extract it and name a file of it")
    }
    if has("archive_format") || names.contains("serialized_exported_program.json") {
      return FileSignature(
        "a torch.export archive", "save the program's state_dict() with torch.save or safetensors")
    }
    if has("com.apple.CoreML/model.mlmodel") { return coreML }
    if has("saved_model.pb") { return FileSignature("a zipped TensorFlow SavedModel", toONNX) }
    if names.contains("[Content_Types].xml") { return FileSignature("an office document") }
    return FileSignature(
      "a zip archive that holds neither PyTorch nor NumPy data",
      names.isEmpty ? nil : extract, .compressed)
  }

  /// Recognizes signatures that lie further inside, or at the end.
  private static func lateSignature(_ file: InputFile) -> FileSignature? {
    let hdf5: [UInt8] = [0x89] + Array("HDF\r\n\u{1A}\n".utf8)
    for offset in [0, 512, 1024, 2048] where file.byteCount >= offset + hdf5.count {
      let found = try? file.bytes(at: offset, count: hdf5.count, purpose: "the signature")
      guard found?.array == hdf5 else { continue }
      let isKeras = head(of: file, 1 << 16).map { contains($0, "keras_version") } ?? false
      return FileSignature(isKeras ? "a Keras model in an HDF5 file" : "an HDF5 file", openWith)
    }
    if let block = head(of: file, 512), TarDirectory.isHeader(block) {
      return FileSignature("a tar archive", extract, .compressed)
    }
    if head(of: file, 10).map({ isBzip2($0) }) ?? false {
      return FileSignature("bzip2-compressed data", unpack, .compressed)
    }
    if head(of: file, 2) == Array("MZ".utf8), isWindowsProgram(file) {
      return FileSignature("a program or library of Windows", nil, .program)
    }
    let footer: [UInt8] = [0x57, 0xFB, 0x80, 0x8B, 0x24, 0x75, 0x47, 0xDB]
    if file.byteCount > 48,
      let tail = try? file.bytes(
        at: file.byteCount - footer.count, count: footer.count, purpose: "the footer"),
      tail.array == footer
    {
      return FileSignature(
        "the index of a TensorFlow checkpoint", "tf.train.load_checkpoint reads it; save as .npz")
    }
    return nil
  }

  private static func isBzip2(_ head: [UInt8]) -> Bool {
    head.starts(with: "BZh".utf8) && head.count == 10 && (0x31...0x39).contains(head[3])
      && [[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]].contains(
        Array(head[4...]))
  }

  private static func isWindowsProgram(_ file: InputFile) -> Bool {
    guard let head = head(of: file, 64), head.count == 64 else { return false }
    let offset = (0..<4).reduce(0) { $0 | Int(head[60 + $1]) << (8 * $1) }
    let mark = try? file.bytes(at: offset, count: 4, purpose: "the signature")
    return mark?.array == Array("PE\0\0".utf8)
  }

  /// Recognizes a zlib stream, whose beginning must inflate, since two bytes are weak evidence.
  private static func zlib(_ file: InputFile) -> FileSignature? {
    guard let head = head(of: file, 1 << 16), head[0] & 0x8F == 0x08 else { return nil }
    let content = Zlib.inflateWhatCanBe(SharedBytes(head), in: .zlib, limit: 4096).array
    guard !content.isEmpty else { return nil }
    if contains(content, "joblib.numpy_pickle") {
      return FileSignature("a joblib dump, zlib-compressed", joblib.advice, .compressed)
    }
    return FileSignature("zlib-compressed data", unpack, .compressed)
  }

  /// Recognizes files that only their name distinguishes from other binary data.
  private static func named(_ file: InputFile, _ head: [UInt8]) -> FileSignature? {
    switch file.path.pathExtension {
    case "mnn":
      return FileSignature("an MNN model", "MNNConvert or the model it was made from gives ONNX")
    case "distcp": return distributedCheckpoint
    case "bin" where !file.isInMemory:
      let stem = file.path.pathStem
      let description = try? SiblingFiles(beside: file).open("\(stem).param")
      guard description.map({ NCNNFormat().recognizes($0) }) ?? false else { return nil }
      return FileSignature("the weights of an ncnn network", ncnnAdvice)
    case "caffemodel": return caffe
    case "mlmodel": return coreML
    default: return nil
    }
  }

  // MARK: Protobuf and MessagePack

  private static let coreML = FileSignature(
    "a Core ML model", "coremltools reads its weights; save them as .npz or .safetensors")
  private static let caffe = FileSignature(
    "a Caffe model", "caffe or OpenCV's dnn reads it; save its blobs as .npz")

  /// Recognizes protobuf messages, which have no signature, by the numbers and kinds of their first
  /// fields.
  private static func protobuf(_ file: InputFile, _ head: [UInt8]) -> FileSignature? {
    guard [0x08, 0x0A, 0x12].contains(head[0]) else { return nil }
    let fields = fields(of: file, 0..<file.byteCount, limit: 64)
    guard let first = fields.first, fields.count > 1 || first.delimitedRange != nil else {
      return nil
    }
    let numbers = Set(fields.map(\.number))
    if first.number == 1, case .varint(let version) = first.content, version <= 100 {
      guard fields.count > 1, fields[1].number == 2, fields[1].delimitedRange != nil else {
        return nil
      }
      if numbers.contains(where: { (200...3000).contains($0) }) { return coreML }
      let isSavedModel =
        version == 1 && fields.dropFirst().allSatisfy { $0.number == 2 && $0.delimitedRange != nil }
      return isSavedModel ? FileSignature("a TensorFlow SavedModel", toONNX) : nil
    }
    guard first.number == 1, let range = first.delimitedRange else { return nil }
    let inner = Self.fields(of: file, range, limit: 4)
    if inner.first?.number == 1, inner.first?.delimitedRange != nil, inner.count > 1,
      inner[1].number == 2
    {
      if case .fixed(let score) = inner[1].content, score.count == 4 {
        return FileSignature(
          "a SentencePiece tokenizer", "it holds pieces of words, not the model's weights")
      }
      if inner[1].delimitedRange != nil, numbers.isSubset(of: [1, 2, 3, 4, 5]) {
        return FileSignature("a TensorFlow graph", toONNX)
      }
    }
    let layers = fields.filter { $0.number == 100 || $0.number == 2 }.prefix(4)
    let isCaffe =
      !layers.isEmpty && numbers.isSubset(of: [1, 2, 3, 4, 5, 6, 7, 8, 100])
      && layers.allSatisfy { layer in
        guard let range = layer.delimitedRange else { return false }
        let kinds = Set(Self.fields(of: file, range, limit: 16).map(\.number))
        return layer.number == 100
          ? kinds.isSuperset(of: [1, 2]) : kinds.isSuperset(of: [4, 5])
      }
    return isCaffe ? caffe : nil
  }

  private static func fields(
    of file: InputFile, _ range: Range<Int>, limit: Int
  ) -> [ProtobufFields.Field] {
    var reader = ProtobufFields(in: file, range: range)
    var fields: [ProtobufFields.Field] = []
    while fields.count < limit, let field = try? reader.next() { fields.append(field) }
    return fields
  }

  /// Recognizes a map whose first key is a string, as Flax writes it.
  private static func messagePack(_ head: [UInt8]) -> FileSignature? {
    let start: Int
    switch head[0] {
    case 0x81...0x8F: start = 1
    case 0xDE: start = 3
    case 0xDF: start = 5
    default: return nil
    }
    guard head.count > start + 2 else { return nil }
    let key: ArraySlice<UInt8>
    switch head[start] {
    case 0xA1...0xBF: key = head.dropFirst(start + 1).prefix(Int(head[start] & 0x1F))
    case 0xD9: key = head.dropFirst(start + 2).prefix(Int(head[start + 1]))
    default: return nil
    }
    guard !key.isEmpty, key.allSatisfy({ (0x20..<0x7F).contains($0) }) else { return nil }
    return FileSignature(
      "a MessagePack file that is no Flax checkpoint")
  }

  private static func pickle(_ head: [UInt8]) -> FileSignature? {
    head.count > 1 && head[0] == PickleOpcode.proto.rawValue && head[1] <= 5
      ? FileSignature("a Python pickle that is not inside a PyTorch archive") : nil
  }

  private static func text(_ file: InputFile) -> FileSignature? {
    guard let head = head(of: file, 1 << 16) else { return nil }
    switch TextContent(beginningOf: SharedBytes(head))?.kind {
    case nil: return nil
    case .json: return FileSignature("a JSON text")
    case .markup:
      return FileSignature(
        "a web page or XML text, perhaps an error page saved by a download", "download it again")
    case .source: return FileSignature("source code")
    case .template: return FileSignature("a Jinja template")
    case .plain: return FileSignature("a text")
    }
  }

  // MARK: Folders

  /// Identifies a folder that holds no readable model file.
  init?(ofFolder path: String, names: [String]) {
    let all = Set(names)
    if all.contains("saved_model.pb") || all.contains("saved_model.pbtxt") {
      self.init("a TensorFlow SavedModel", Self.toONNX, isWhole: true)
    } else if all.contains(".metadata"), names.contains(where: { $0.hasSuffix(".distcp") }) {
      self.init(
        "a distributed PyTorch checkpoint (DCP) with an unknown '.metadata'", isWhole: true)
    } else if names.contains(where: { $0.hasSuffix(".distcp") }) {
      self.init(
        "a distributed PyTorch checkpoint (DCP) without its '.metadata'",
        "which says where each tensor is")
    } else if path.hasSuffix(".mlpackage") || all.contains("Manifest.json") && all.contains("Data")
      || all.contains("coremldata.bin")
    {
      self = Self.coreML
      isWhole = true
    } else if all.contains("_CHECKPOINT_METADATA") || all.contains("manifest.ocdbt") {
      self.init("an Orbax checkpoint of JAX", "orbax reads it; save the arrays as .npz")
    } else if names.contains(where: { $0.hasSuffix(".h5") }) {
      self.init("a folder of a Keras model in HDF5", Self.openWith)
    } else if names.contains("data.pkl"), names.contains("data") {
      self.init("an unpacked PyTorch archive", "zip the folder again, stored, and name that")
    } else {
      return nil
    }
  }

  // MARK: Bytes

  private static func head(of file: InputFile, _ count: Int) -> [UInt8]? {
    try? file.bytes(at: 0, count: min(count, file.byteCount), purpose: "the signature").array
  }

  private static func contains(_ bytes: [UInt8], _ text: String) -> Bool {
    SharedBytes(bytes).firstRange(of: text) != nil
  }
}
