"""The dashboard in a real browser, with a job that really runs."""

import os

from browser import Browser
from service import Service, lenet, mlp

HOSTILE = "<img src=x onerror=alert(1)>"
PAINTED = """(() => {
  const canvas = [...document.querySelectorAll('.chart canvas')].filter((one) => one.width > 300);
  return canvas.some((one) => one.getContext('2d').getImageData(0, 0, one.width, one.height).data.some((v) => v));
})()"""


def text_of(selector):
    return f"(document.querySelector('{selector}')?.textContent ?? '')"


def test_a_running_job_is_shown(binary, kept):
    with Service(binary) as service, Browser() as browser:
        done = service.wait(service.submit(mlp(name="finished"))["id"])
        job = service.submit(lenet(epochs=100, name="fashion-lenet", labels={"note": HOSTILE}))["id"]
        service.wait(job, lambda one: one["progress"]["step"] > 300)

        browser.open(service.sign_in_address)
        browser.wait_for(f"document.querySelector('tr[data-job=\"{job}\"] .badge.running')")
        assert "t=" not in browser.evaluate("location.href"), "the secret stays in the address"
        browser.wait_for(text_of(f'tr[data-job="{job}"] td.progress') + ".includes('left')")
        assert browser.evaluate("document.querySelectorAll('tr[data-job]').length") == 2
        assert HOSTILE in browser.evaluate(text_of(f'tr[data-job="{job}"]')), "the label is shown as text"
        browser.wait_for(r"/^\d/.test(" + text_of(f'tr[data-job="{job}"] td[data-label="Loss"]') + ")")
        browser.screenshot(os.path.join(kept, "jobs.png"))

        browser.open(f"{service.address}/#/jobs/{job}")
        browser.wait_for(PAINTED)
        browser.wait_for(text_of(".chart .legend") + ".includes('Training loss')")
        browser.wait_for(r"/Training loss\d/.test(" + text_of(".tiles") + ")")
        browser.wait_for("document.querySelectorAll('.log li').length > 0")
        before = browser.evaluate(text_of(".bar-note"))
        browser.wait_for(f"{text_of('.bar-note')} !== {before!r}")
        browser.screenshot(os.path.join(kept, "job.png"))
        browser.screenshot(os.path.join(kept, "job-whole.png"), full_page=True)
        browser.prefer("dark")
        browser.screenshot(os.path.join(kept, "job-dark.png"))
        browser.prefer("light")
        check_phone(browser, kept)
        check_pages(browser, service, done)
        check_cancel(browser, service, job)
        assert not browser.errors, browser.errors


def check_phone(browser, kept):
    browser.resize(390, 844, is_phone=True)
    browser.wait_for("document.documentElement.scrollWidth <= 390")
    browser.screenshot(os.path.join(kept, "phone.png"))
    browser.resize(1280, 900)


def check_pages(browser, service, done):
    model = done["result"]["model_id"]
    for page, sign in (("models", f'tr[data-model="{model}"]'), (f"models/{model}", ".code .k"),
                       ("datasets", ".facts"), ("system", ".facts")):
        browser.open(f"{service.address}/#/{page}")
        browser.wait_for(f"document.querySelector('{sign}')")
    browser.open(f"{service.address}/#/jobs/{done['id']}")
    browser.wait_for("document.querySelector('.badge.succeeded')")
    browser.wait_for(text_of(".tiles") + ".includes('loss')")


def check_cancel(browser, service, job):
    browser.open(f"{service.address}/#/jobs/{job}")
    browser.wait_for("document.querySelector('.page-head .button.danger')")
    browser.evaluate("document.querySelector('.page-head .button.danger').click()")
    browser.wait_for("document.querySelector('dialog[open] .button.danger')")
    browser.evaluate("document.querySelector('dialog[open] .button.danger').click()")
    browser.wait_for("document.querySelector('.toast')")
    browser.wait_for("document.querySelector('.page-head .badge.cancelled')")
    assert service.job(job)["state"] == "cancelled"


def test_without_a_token_there_is_only_the_door(binary, kept):
    with Service(binary) as service, Browser() as browser:
        used = service.post("/v1/session", {"login": service.sign_in_address.split("=")[1]}, token=False)
        assert used.status == 201 and "httponly" in used.headers["set-cookie"].lower(), used
        browser.open(service.sign_in_address)
        browser.wait_for("document.querySelector('.sign-in input')")
        browser.evaluate("document.querySelector('.sign-in input').value = 'wrong';"
                         "document.querySelector('.sign-in button').click()")
        browser.wait_for(text_of(".sign-in .wrong"))
        browser.evaluate(f"document.querySelector('.sign-in input').value = '{service.token}';"
                         "document.querySelector('.sign-in button').click()")
        browser.wait_for(text_of(".empty") + ".includes('No jobs yet')")
        cookie = browser.evaluate("document.cookie")
        assert cookie == "", "a script can read the session"
