import Storage

/// Everything in a file that a program would execute on loading it, found without executing anything.
///
/// Pickles are looked for by content, whatever the names: in the file itself, in zip and tar
/// archives and archives inside them, in NumPy object arrays, one after another in a stream, and
/// inside the texts and bytes of other pickles. So are the other things that a container's own
/// program runs or loads: Python modules, classes that a configuration names, templates, libraries.
/// Whatever cannot be read to its end, or is of no known kind, is a problem, and a file with a
/// problem is never clean.
public struct FileAudit: Sendable {
  /// What the file amounts to.
  public enum Verdict: String, Codable, CaseIterable, Sendable {
    /// Read whole, and nothing but data found.
    case clean
    /// A dangerous or unknown class, function or call was found, or something else that runs.
    case suspicious
    /// Nothing dangerous was found, but not everything could be read.
    case unreadable
  }

  /// One pickle.
  public struct Pickle: Sendable {
    /// Where it is inside the file: archive entries and positions, outermost first; empty for the
    /// file itself.
    public let place: String
    /// What loading would do, in the order of the bytes.
    public let events: [PickleEvent]
    /// Why it could not be followed to its end.
    public let problem: String?
  }

  /// Something other than a pickle that a program runs or loads because it is in the file.
  public struct Program: Hashable, Sendable {
    /// What it is.
    public enum Kind: String, Codable, CaseIterable, Sendable {
      /// The text of a program, such as a Python module.
      case source
      /// A class or function that a configuration names, which loading imports and calls.
      case configuredClass = "configured-class"
      /// A template that is run for each input, such as Jinja's.
      case template
      /// Machine code or bytecode.
      case library
      /// An operator of a graph that a library outside the file provides.
      case customOperator = "custom-operator"
      /// Another file that loading would open.
      case reference
    }

    /// Where it is inside the file, outermost first; empty for the file itself.
    public let place: String
    /// What it is.
    public let kind: Kind
    /// The class, template, operator or file; `nil` where the place says all.
    public let name: String?
    /// Whether it is known to do harm, or nothing is known of it.
    public let verdict: PickleVerdict
    /// What it does.
    public let knownFor: String
  }

  /// Something that could not be read.
  public struct Problem: Hashable, Sendable {
    /// The file, or the member of an archive.
    public let place: String
    /// What is wrong: a lower-case sentence.
    public let message: String
    /// The byte where it was found; `nil` where none is to blame.
    public let offset: Int?
  }

  /// Every pickle that was found, pickles inside pickles too.
  public private(set) var pickles: [Pickle] = []
  /// What else a program would run or load, in the order of the file.
  public private(set) var programs: [Program] = []
  /// What could not be read to its end.
  public private(set) var problems: [Problem] = []
  /// What a user should know of, such as programs that are not Python's.
  public private(set) var notes: [String] = []

  /// The lengths of the storages that the pickles of the archive at hand name, by their keys; `nil`
  /// for storages of an unknown type.
  var storageByteCounts: [String: Set<Int?>] = [:]
  /// The members of the archive at hand that its own index says are plain numbers.
  var plainMembers: Set<String> = []

  /// Archives inside archives, and pickles inside pickles, are followed this deep.
  static let depthLimit = 8
  /// A file with more pickles than this is not followed further.
  static let pickleLimit = 100_000

  /// The worst that was found.
  public var verdict: Verdict {
    // What runs besides pickles runs whatever the rest of the file holds.
    guard programs.isEmpty else { return .suspicious }
    var isUnknown = false
    for event in pickles.lazy.flatMap(\.events) {
      if event.verdict == .dangerous { return .suspicious }
      if event.verdict == .unknown { isUnknown = true }
    }
    // What is merely unknown may be known in the part that could not be read.
    return problems.isEmpty ? (isUnknown ? .suspicious : .clean) : .unreadable
  }

  /// Looks through `file`, which is read and never executed.
  public init(of file: InputFile) {
    audit(file)
    if verdict == .clean { requireReadable(file) }
  }

  /// A checkpoint that the reader refuses, for its nesting for instance, is not clean.
  private mutating func requireReadable(_ file: InputFile) {
    let format = PyTorchFormat()
    guard format.recognizes(file) else { return }
    do {
      _ = try format.read(file)
    } catch {
      addProblem(error, place: "")
    }
  }

  // MARK: Collecting

  mutating func add(_ pickle: Pickle) { pickles.append(pickle) }

  mutating func addProgram(
    _ kind: Program.Kind, _ name: String? = nil, place: String,
    _ verdict: PickleVerdict, _ knownFor: String
  ) {
    let program = Program(
      place: place, kind: kind, name: name, verdict: verdict, knownFor: knownFor)
    if !programs.contains(program) { programs.append(program) }
  }

  mutating func addProblem(_ error: any Error, place: String) {
    let error = error as? ModelError
    let inner = (error?.tensor ?? error?.entry).map {
      place.isEmpty ? $0 : place.hasSuffix($0) ? place : "\(place)/\($0)"
    }
    problems.append(
      Problem(
        place: inner ?? place, message: error?.problem.description ?? "it cannot be read",
        offset: error?.offset))
  }

  mutating func addProblem(_ message: String, place: String, offset: Int? = nil) {
    problems.append(Problem(place: place, message: message, offset: offset))
  }

  mutating func addNote(_ note: String) {
    if !notes.contains(note) { notes.append(note) }
  }

  static func join(_ place: String, _ inner: String) -> String {
    place.isEmpty ? inner : "\(place)/\(inner)"
  }
}
