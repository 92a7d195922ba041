// Files that come in place of others: claims of folders, processes that are killed at any of their system calls,
// readers meanwhile. The calls below take the place of the system's in this whole program.
#include "support/output_folder.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "curate/error.h"
#include "support/atomic_file.h"
#include "support/file_set.h"
#include "support/folder_claim.h"

namespace {

std::atomic<int> calls_before_death = 0;  ///< 0: the process lives
std::atomic<bool> slowly = false;         ///< calls take long enough for other processes to come between
std::atomic<bool> locks = true;           ///< whether the file system has some
std::atomic<int> calls_before_error = 0;  ///< 0: none fails
std::function<void()> at_mkdir;           ///< what another process does just before the next folder is made
std::function<void()> at_flock;           ///< and before the next lock

/// False where the call fails.
bool before_call() {
  if (slowly) {
    ::usleep(300);
  }
  if (calls_before_death > 0 && --calls_before_death == 0) {
    ::kill(::getpid(), SIGKILL);
  }
  if (calls_before_error > 0 && --calls_before_error == 0) {
    errno = EIO;
    return false;
  }
  return true;
}

void let_others(std::function<void()>& act) {
  if (const auto meanwhile = std::exchange(act, nullptr)) {
    meanwhile();
  }
}

template <typename... Arguments>
int call(long number, Arguments... arguments) {
  return before_call() ? static_cast<int>(::syscall(number, arguments...)) : -1;
}

}  // namespace

// Libraries shall find them too.
#pragma GCC visibility push(default)
extern "C" {

int rename(const char* from, const char* to) noexcept {
  return call(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
int unlink(const char* path) noexcept {
  return call(SYS_unlinkat, AT_FDCWD, path, 0);
}
int unlinkat(int folder, const char* path, int flags) noexcept {
  return call(SYS_unlinkat, folder, path, flags);
}
int rmdir(const char* path) noexcept {
  return call(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}
int mkdir(const char* path, mode_t mode) noexcept {
  let_others(at_mkdir);
  return call(SYS_mkdirat, AT_FDCWD, path, mode);
}
int flock(int file, int how) noexcept {
  let_others(at_flock);
  if (!locks) {
    errno = ENOLCK;
    return -1;
  }
  return call(SYS_flock, file, how);
}
/// What is killed has no need of the disk.
int fsync(int /*file*/) {
  return before_call() ? 0 : -1;
}

}  // extern "C"
#pragma GCC visibility pop

namespace curate {
namespace {

namespace fs = std::filesystem;

bool is_ours(std::string_view name) {
  return name.size() == 1;
}

using Files = std::map<std::string, std::string>;

const Files kOld = {{"a", "old"}, {"b", "old"}, {"c", "old"}};
const Files kNew = {{"a", "new"}, {"b", "new"}, {"d", "new"}};

class OutputFolderTest : public testing::Test {
 protected:
  OutputFolderTest()
      : root_(fs::path(fs::exists("/dev/shm") ? "/dev/shm" : testing::TempDir()) /
              fmt::format("curate_output_folder_{}_{}", ::getpid(),
                          testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  ~OutputFolderTest() override {
    locks = true;
    calls_before_error = 0;
    at_mkdir = at_flock = nullptr;
    fs::remove_all(root_);
  }

  std::string path(const std::string& name) const { return (root_ / name).string(); }

  /// What is in the folder itself, without what belongs to its claim.
  Files files_of(const std::string& folder) const {
    Files files;
    for (const auto& entry : fs::directory_iterator(path(folder))) {
      if (entry.path().filename() != FolderClaim::kHidden) {
        files[entry.path().filename().string()] = read_file(entry.path().string());
      }
    }
    return files;
  }

  fs::path root_;
};

void stage(OutputFolder& folder, const Files& files) {
  for (const auto& [name, text] : files) {
    write_file_atomically(folder.stage(name), text);
  }
}

void write(const std::string& path, const Files& files) {
  OutputFolder folder(path, true, is_ours);
  stage(folder, files);
  folder.commit();
}

/// In a process of its own, which is killed before its call of that number; 0: not at all.
template <typename Body>
pid_t start(int calls, Body body) {
  const pid_t child = ::fork();
  if (child != 0) {
    return child;
  }
  calls_before_death = calls;
  int status = 1;
  try {
    body();
    status = 0;
  } catch (const std::exception& error) {
    status = dynamic_cast<const InputError*>(&error) != nullptr ? 2 : 1;
    fmt::print(stderr, "process {}: {}\n", ::getpid(), error.what());
  }
  ::_exit(status);
}

/// The status it ended with; -1: killed.
int end_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

template <typename Body>
bool is_killed(int calls, Body body) {
  const int end = end_of(start(calls, body));
  EXPECT_TRUE(end == 0 || end == -1) << "ended with " << end;
  return end == -1;
}

template <typename Action>
std::string refusal(Action action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

/// The set that a reader finds, read once more where another one came meanwhile.
Files read_files(const std::string& folder, const std::string& last) {
  return read_set(folder, last, [&] {
    Files files;
    for (const char* name : {"a", "b", "c", "d"}) {
      if (fs::exists(fs::path(folder) / name)) {
        files[name] = read_file(fmt::format("{}/{}", folder, name));
      }
    }
    return files;
  });
}

// Every point at which a replacement can be killed, and for each every point at which the process that goes on with it
// can be. Catches: old files that go before the new ones are whole, sets that mix, a point from which nobody goes on,
// files that are left behind, other files that do not stay.
TEST_F(OutputFolderTest, AKillAtAnyCallLosesNothing) {
  const std::string folder = path("set");
  const auto replace = [&] { write(folder, kNew); };
  const auto settle = [&] { settle_set(folder); };
  std::set<std::string> seen;
  const auto killed_at = [&](int call) {
    fs::remove_all(folder);
    write(folder, kOld);
    write_file_atomically(folder + "/other", "stays");
    return is_killed(call, replace);
  };
  const auto check = [&](const std::string& what) {
    Files found = files_of("set");
    EXPECT_EQ(found.erase("other"), 1U) << what;
    std::set<std::string> texts;
    for (const auto& [name, text] : found) {
      texts.insert(text);
    }
    EXPECT_LE(texts.size(), 1U) << what << ": two sets at the same time";
    seen.insert(is_unsettled(folder) ? "between" : texts.empty() ? "none" : *texts.begin());
    if (!is_unsettled(folder)) {
      EXPECT_TRUE(found == kOld || found == kNew) << what;
    }
    const bool is_new = is_unsettled(folder) || found == kNew;
    settle_set(folder);
    EXPECT_EQ(read_files(folder, is_new ? "d" : "c"), is_new ? kNew : kOld) << what;
  };
  int call = 1;
  for (; killed_at(call); ++call) {
    check(fmt::format("killed at call {}", call));
    // The next ones that write there, with no reader before: one that fails, and one that does not.
    killed_at(call);
    const bool is_new = is_unsettled(folder) || fs::exists(folder + "/d");
    { const OutputFolder failed(folder, true, is_ours); }
    EXPECT_EQ(read_files(folder, is_new ? "d" : "c"), is_new ? kNew : kOld) << "killed at call " << call;
    killed_at(call);
    write(folder, {{"b", "newer"}});
    EXPECT_EQ(files_of("set"), (Files{{"b", "newer"}, {"other", "stays"}})) << "killed at call " << call;
    EXPECT_FALSE(fs::exists(fs::path(folder) / FolderClaim::kHidden)) << "killed at call " << call;
    for (int second = 1; killed_at(call) && is_unsettled(folder) && is_killed(second, settle); ++second) {
      check(fmt::format("killed at call {}, then at {}", call, second));
    }
  }
  EXPECT_EQ(files_of("set"), (Files{{"a", "new"}, {"b", "new"}, {"d", "new"}, {"other", "stays"}}));
  EXPECT_EQ(seen, (std::set<std::string>{"between", "new", "old"}));
  EXPECT_GT(call, 20);
}

// Catches: files that are thrown away because they could not be put in place, errors that nobody hears of.
TEST_F(OutputFolderTest, AnErrorOfAnyCallLosesNothing) {
  const std::string folder = path("set");
  std::set<std::string> seen;
  int left = 0;
  for (int call = 1; left == 0; ++call) {
    fs::remove_all(folder);
    write(folder, kOld);
    calls_before_error = call;
    std::string told;
    try {
      write(folder, kNew);
    } catch (const Error& error) {
      told = error.what();
    }
    left = calls_before_error.exchange(0);
    const bool is_new = is_unsettled(folder) || fs::exists(folder + "/d");
    const std::string what = fmt::format("call {}: {}", call, told);
    EXPECT_TRUE(is_new || !told.empty()) << what;
    EXPECT_TRUE(told.empty() || told.find("nput/output error") != std::string::npos) << what;
    EXPECT_EQ(told.find("they are whole, and the next command") != std::string::npos, is_unsettled(folder)) << what;
    seen.insert(is_unsettled(folder) ? "between" : is_new ? "new" : "old");
    EXPECT_EQ(read_files(folder, is_new ? "d" : "c"), is_new ? kNew : kOld) << what;
    EXPECT_EQ(files_of("set"), is_new ? kNew : kOld) << what;
  }
  EXPECT_EQ(seen, (std::set<std::string>{"between", "new", "old"}));
}

// Catches: a folder that a killed process claimed and that nobody gets any more, or that passes for a whole set.
TEST_F(OutputFolderTest, AKillAtAnyCallLeavesANameThatIsFreeOrASet) {
  const auto name = [&](int number) { return path(fmt::format("runs/{}", number)); };
  const auto make = [&] {
    OutputFolder folder = OutputFolder::first_free(name, is_ours);
    stage(folder, kNew);
    folder.commit();
  };
  std::set<std::string> seen;
  int call = 1;
  for (; fs::remove_all(path("runs")), is_killed(call, make); ++call) {
    const std::string what = fmt::format("killed at call {}", call);
    const bool whole = fs::exists(name(1)) && (is_unsettled(name(1)) || files_of("runs/1") == kNew);
    const std::string told = whole ? "" : refusal([&] { refuse_unfinished(name(1), "d"); });
    seen.insert(told.substr(0, told.find(':')));
    if (!told.empty()) {
      EXPECT_NE(told.find(", ended before the files there were whole; run its command again"), std::string::npos)
          << told;
    }
    {
      const OutputFolder next = OutputFolder::first_free(name, is_ours);
      // Killed between mkdir and claim, it leaves an empty folder, which may be anybody's.
      const bool nameless = !whole && call > 1 && next.path() == name(2) && told.empty();
      EXPECT_TRUE(next.path() == name(whole ? 2 : 1) || nameless) << what;
    }
    EXPECT_EQ(whole, fs::exists(name(1)) && !fs::is_empty(name(1))) << what;
    if (whole) {
      EXPECT_EQ(read_files(name(1), "d"), kNew) << what;
    }
  }
  EXPECT_EQ(seen, (std::set<std::string>{"", name(1)}));
}

// Catches: a name that is looked for before it is claimed, and claims that are not.
TEST_F(OutputFolderTest, EveryProcessGetsANameOfItsOwn) {
  constexpr int kProcesses = 8;
  const auto name = [&](int number) { return path(fmt::format("runs/{}", number)); };
  fs::create_directories(name(2));  // somebody else's
  std::vector<pid_t> children;
  for (int k = 0; k < kProcesses; ++k) {
    children.push_back(start(0, [&] {
      slowly = true;
      OutputFolder folder = OutputFolder::first_free(name, is_ours);
      stage(folder, {{"a", std::to_string(::getpid())}, {"b", std::to_string(::getpid())}});
      folder.commit();
    }));
  }
  std::set<std::string> written;
  std::set<std::string> expected;
  for (const pid_t child : children) {
    EXPECT_EQ(end_of(child), 0);
    expected.insert(std::to_string(child));
  }
  for (int number = 1; number <= kProcesses + 1; ++number) {
    const Files files = files_of(fmt::format("runs/{}", number));
    if (number == 2) {
      EXPECT_TRUE(files.empty());
      continue;
    }
    ASSERT_EQ(files.size(), 2U) << number;
    EXPECT_EQ(files.at("a"), files.at("b"));
    written.insert(files.at("a"));
  }
  EXPECT_EQ(written, expected);
}

// Catches: two processes that write the same folder at the same time and both think that they did.
TEST_F(OutputFolderTest, OneProcessAtATimeWritesAFolder) {
  constexpr int kProcesses = 8;
  const std::string folder = path("set");
  for (const bool overwrite : {false, true}) {
    std::vector<pid_t> children;
    std::array<int, 2> done{};
    ASSERT_EQ(::pipe(done.data()), 0);
    for (int k = 0; k < kProcesses; ++k) {
      children.push_back(start(0, [&] {
        slowly = true;
        OutputFolder output(folder, overwrite, is_ours);
        stage(output, kNew);
        char all = 0;  // nobody has finished before all have begun
        static_cast<void>(::read(done[0], &all, 1));
        output.commit();
      }));
    }
    std::map<int, int> ends;
    ::usleep(300000);
    ASSERT_EQ(::write(done[1], "12345678", kProcesses), kProcesses);
    for (const pid_t child : children) {
      ++ends[end_of(child)];
    }
    EXPECT_EQ(ends, (std::map<int, int>{{0, 1}, {2, kProcesses - 1}}));
    EXPECT_EQ(files_of("set"), kNew);
    ::close(done[0]);
    ::close(done[1]);
  }
}

TEST_F(OutputFolderTest, AClaimIsNamedByWhoMadeIt) {
  const std::string folder = path("set");
  {
    const OutputFolder output(folder, false, is_ours);
    const std::string told = refusal([&] { OutputFolder(folder, true, is_ours); });
    EXPECT_EQ(told.find(fmt::format("`out` {}: process {} on ", folder, ::getpid())), 0U) << told;
    EXPECT_NE(told.find(" UTC, writes there; wait until it has ended, or give another directory"), std::string::npos)
        << told;
    const std::string to_reader = refusal([&] { read_files(folder, "a"), refuse_unfinished(folder, "a"); });
    EXPECT_NE(to_reader.find(fmt::format("{}: process {} on ", folder, ::getpid())), std::string::npos) << to_reader;
    EXPECT_NE(to_reader.find("is still at work there; wait until it has ended"), std::string::npos) << to_reader;
  }
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_EQ(refusal([&] { refuse_unfinished(folder, "a"); }), "");
}

// Catches: a claim on a lock whose file its last holder has removed, which two processes then have.
TEST_F(OutputFolderTest, ClaimsExcludeEachOther) {
  constexpr int kProcesses = 6;
  const std::string folder = path("set");
  fs::create_directories(folder);
  std::vector<pid_t> children;
  for (int k = 0; k < kProcesses; ++k) {
    children.push_back(start(0, [&] {
      int claims = 0;
      for (int round = 0; round < 3000 && claims < 100; ++round) {
        if (const auto claim = FolderClaim::try_claim(folder, "")) {
          ++claims;
          const std::string mine = folder + "/mine";
          const int file = ::open(mine.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
          if (file < 0) {
            throw Error("two have it");
          }
          ::sched_yield();
          ::close(file);
          ::unlink(mine.c_str());
        }
      }
      if (claims == 0) {
        throw Error("never had it");
      }
    }));
  }
  for (const pid_t child : children) {
    EXPECT_EQ(end_of(child), 0);
  }
}

// Catches: a look at a claim, which takes its lock for a moment, that passes for a claim.
TEST_F(OutputFolderTest, LookingAtAClaimIsNone) {
  const std::string folder = path("set");
  fs::create_directories(folder + "/.publishing");
  const pid_t looking = start(0, [&] {
    while (!fs::exists(path("enough"))) {
      claim_state(folder);
      ::usleep(50);
    }
  });
  for (int round = 0; round < 300; ++round) {
    fs::create_directories(folder + "/.publishing");
    write_file_atomically(folder + "/.publishing/lock", "process 1, which was killed\n");
    EXPECT_NO_THROW(FolderClaim(folder, ""));
  }
  write_file_atomically(path("enough"), "");
  EXPECT_EQ(end_of(looking), 0);
}

// Catches: files that come between the look at a folder and the claim on it, and are overwritten.
TEST_F(OutputFolderTest, FilesThatCameBeforeTheClaimStay) {
  const std::string folder = path("1");
  const auto meanwhile = [&] {
    fs::create_directories(folder);
    write_file_atomically(folder + "/a", "another's");
  };
  at_mkdir = meanwhile;
  EXPECT_NE(refusal([&] { OutputFolder(folder, false, is_ours); }).find("holds a already; give another"),
            std::string::npos);
  EXPECT_EQ(files_of("1"), (Files{{"a", "another's"}}));
  EXPECT_FALSE(fs::exists(folder + "/.publishing"));
  // A claim of a killed process, whose folder another one takes and fills.
  fs::remove_all(folder);
  fs::create_directories(folder + "/.publishing");
  at_mkdir = [&] { at_mkdir = meanwhile; };  // the second call is that for .publishing
  EXPECT_EQ(OutputFolder::first_free([&](int number) { return path(std::to_string(number)); }, is_ours).path(),
            path("2"));
  EXPECT_EQ(files_of("1"), (Files{{"a", "another's"}}));
}

// Catches: files of two sets that pass for one, and readers that fail while a set is replaced.
TEST_F(OutputFolderTest, ReadersSeeOneSet) {
  constexpr int kSets = 60;
  const std::string folder = path("set");
  const auto set_of = [](int number) {
    const std::string text = std::to_string(number);
    return Files{{"a", text}, {"b", text}, {"c", text}};
  };
  write(folder, set_of(0));
  const pid_t writer = start(0, [&] {
    for (int number = 1; number <= kSets; ++number) {
      slowly = true;
      write(folder, set_of(number));
    }
  });
  int reads = 0;
  std::set<std::string> seen;
  int status = 0;
  while (::waitpid(writer, &status, WNOHANG) == 0) {
    const Files files = read_set(folder, "c", [&] {
      Files found;
      for (const char* name : {"a", "b", "c"}) {
        found[name] = read_file(fmt::format("{}/{}", folder, name));
        ::usleep(200);
      }
      return found;
    });
    ASSERT_EQ(files, set_of(std::stoi(files.at("a"))));
    seen.insert(files.at("a"));
    ++reads;
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_GT(seen.size(), 10U) << reads << " reads";
}

// Catches: a set that is read in part and counts, because its files are all there.
TEST_F(OutputFolderTest, ASetThatCameMeanwhileIsReadAgain) {
  const std::string folder = path("set");
  for (const bool fails : {false, true}) {
    write(folder, kOld);
    int times = 0;
    const auto texts = read_set(folder, "b", [&] {
      std::string text = read_file(folder + "/a");
      if (++times == 1) {
        write(folder, kNew);
        if (fails) {
          throw InputError("gone");
        }
      }
      return text + " " + read_file(folder + "/b");
    });
    EXPECT_EQ(texts, "new new");
    EXPECT_EQ(times, 2);
  }
  EXPECT_THROW(read_set(folder, "b", []() -> int { throw InputError("wrong"); }), InputError);
}

// Catches: a process that waits for ever where there are no locks, or takes a claim that it cannot know to be left.
TEST_F(OutputFolderTest, WithoutLocksALeftClaimIsRemovedByHand) {
  const std::string folder = path("set");
  locks = false;
  write(folder, kOld);
  EXPECT_EQ(end_of(start(0,
                         [&] {
                           const OutputFolder output(folder, true, is_ours);
                           ::kill(::getpid(), SIGKILL);
                         })),
            -1);
  const std::string told = refusal([&] { OutputFolder(folder, true, is_ours); });
  EXPECT_NE(told.find("this file system has no locks to tell which"), std::string::npos) << told;
  EXPECT_NE(told.find(fmt::format("if that process has ended, remove {}/.publishing/lock", folder)), std::string::npos)
      << told;
  EXPECT_EQ(files_of("set"), kOld);
  fs::remove(folder + "/.publishing/lock");
  write(folder, kNew);
  EXPECT_EQ(files_of("set"), kNew);
  EXPECT_FALSE(fs::exists(folder + "/.publishing"));
}

// A folder may come from elsewhere. Catches: names and links by which files outside of it are moved.
TEST_F(OutputFolderTest, ASetThatLeadsOutOfItsFolderIsRefused) {
  const std::string folder = path("set");
  for (const std::string list :
       {"new ../outside\n", "old ../outside\n", "new ..\n", "new \n", "outside\n", "new .publishing\n"}) {
    fs::remove_all(folder);
    fs::create_directories(folder + "/.publishing/new");
    fs::create_directories(folder + "/.publishing/old");
    write_file_atomically(path("outside"), "stays");
    write_file_atomically(folder + "/.publishing/set", list);
    const std::string told = refusal([&] { settle_set(folder); });
    EXPECT_NE(told.find("/.publishing/set: not a list of files; remove it"), std::string::npos) << list << told;
    EXPECT_EQ(read_file(path("outside")), "stays");
  }
  for (const char* link : {"new", "old"}) {
    fs::remove_all(folder);
    fs::create_directories(path("elsewhere"));
    write_file_atomically(path("elsewhere/a"), "stays");
    fs::create_directories(folder + "/.publishing/new");
    fs::create_directories(folder + "/.publishing/old");
    fs::remove(folder + "/.publishing/" + link);
    fs::create_directory_symlink(root_ / "elsewhere", folder + "/.publishing/" + link);
    write_file_atomically(folder + "/.publishing/set", "new a\n");
    EXPECT_NE(refusal([&] { settle_set(folder); }).find("no folder; remove "), std::string::npos) << link;
    EXPECT_EQ(read_file(path("elsewhere/a")), "stays");
  }
  fs::remove_all(folder);
  fs::create_directories(folder);
  fs::create_directory_symlink(root_ / "elsewhere", folder + "/.publishing");
  EXPECT_NE(refusal([&] { OutputFolder(folder, true, is_ours); }).find(".publishing there is a link"),
            std::string::npos);
}

TEST_F(OutputFolderTest, AHalfSetThatCannotBeWrittenToSaysWhatToDo) {
  const std::string folder = path("set");
  fs::create_directories(folder + "/.publishing/new");
  fs::create_directories(folder + "/.publishing/old");
  write_file_atomically(folder + "/.publishing/new/a", "new");
  write_file_atomically(folder + "/.publishing/set", "new a\n");
  calls_before_error = 1;
  EXPECT_NE(refusal([&] { settle_set(folder); }).find("read that folder once as a user who may"), std::string::npos);
  EXPECT_EQ(read_files(folder, "a"), (Files{{"a", "new"}}));
}

TEST_F(OutputFolderTest, AFolderInTheWayOfAFileIsRefused) {
  fs::create_directories(path("set/a"));
  EXPECT_NE(refusal([&] { OutputFolder(path("set"), true, is_ours); }).find("holds a folder a; give another"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(path("set/.publishing")));
}

// Catches: what a killed process left of a file that stays for ever, and what another one writes that is taken for it.
TEST_F(OutputFolderTest, FilesOfKilledProcessesAreRemovedAndOthersStay) {
  const std::string file = path("file");
  write_file_atomically(file, "whole");
  EXPECT_EQ(end_of(start(0,
                         [&] {
                           const NewFile left(file);
                           ::kill(::getpid(), SIGKILL);
                         })),
            -1);
  NewFile at_work(file);
  ASSERT_GE(at_work.fd(), 0);
  write_file_atomically(path("file.txt"), "another");
  const auto count = [&] { return std::distance(fs::directory_iterator(root_), fs::directory_iterator()); };
  EXPECT_EQ(count(), 4);
  remove_abandoned_files(file);
  EXPECT_EQ(count(), 3);
  EXPECT_EQ(read_file(file), "whole");
  ASSERT_EQ(::write(at_work.fd(), "new", 3), 3);
  EXPECT_TRUE(at_work.replace());
  EXPECT_EQ(read_file(file), "new");
  EXPECT_EQ(count(), 2);
  locks = false;
  write_file_atomically(path("file.1.1.tmp"), "");
  remove_abandoned_files(file);
  EXPECT_EQ(count(), 3) << "nobody can tell";
}

// Catches: a new file that gets the end of one that was left, or is removed before it is locked.
TEST_F(OutputFolderTest, ANewFileIsItsOwn) {
  const std::string file = path("file");
  int number = 0;
  {
    const NewFile first(file);
    const std::string name = fs::directory_iterator(root_)->path().filename().string();
    ASSERT_EQ(std::sscanf(name.c_str(), fmt::format("file.{}.%d.tmp", ::getpid()).c_str(), &number), 1) << name;
  }
  const fs::path left = path(fmt::format("file.{}.{}.tmp", ::getpid(), number + 1));
  std::ofstream(left) << "a long text";
  write_file_atomically(file, "short");
  EXPECT_EQ(read_file(file), "short");
  EXPECT_TRUE(fs::exists(left));
  bool removed = false;
  at_flock = [&] {
    remove_abandoned_files(file);
    removed = true;
  };
  write_file_atomically(file, "shorter");
  EXPECT_TRUE(removed);
  EXPECT_EQ(read_file(file), "shorter");
}

TEST_F(OutputFolderTest, ManyProcessesWriteOneFile) {
  constexpr int kProcesses = 6;
  const std::string file = path("file");
  std::vector<pid_t> children;
  for (int k = 0; k < kProcesses; ++k) {
    children.push_back(start(0, [&] {
      slowly = true;
      for (int round = 0; round < 20; ++round) {
        remove_abandoned_files(file);
        write_file_atomically(file, std::string(1000, static_cast<char>('a' + k)));
        const std::string content = read_file(file);
        if (content != std::string(1000, content.front())) {
          throw Error("a mix");
        }
      }
    }));
  }
  for (const pid_t child : children) {
    EXPECT_EQ(end_of(child), 0);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace curate
